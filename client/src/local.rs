//! A room on a thread where it may block.

use std::ops::Deref;

use symbolon_net::Host;

/// A room on a thread of its own, where blocking holds up no other task. Every method that reads or writes the index or
/// other files of this machine is a method of this type. Only the `local` of a room hands it out. It dereferences to
/// the room, so it can do all that the room can.
#[derive(Clone, Debug)]
pub(crate) struct Local<R>(R);

impl<R> Deref for Local<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.0
    }
}

impl<R: Clone + Send + 'static> Local<R> {
    /// Runs `work` on a thread where it may block.
    pub(crate) fn run<T: Send + 'static>(
        room: &R,
        host: &Host,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        // This is not an async function, because its future would hold `work` twice.
        let local = Self(room.clone());
        host.in_turn(move || work(&local))
    }
}
