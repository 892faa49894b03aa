//! A room where it may block its thread.

use std::ops::Deref;

use symbolon_net::Host;

/// What reads or writes the index or other files of this machine is a method of this, and only the `local` of a room
/// hands it out: on a thread where it holds up no other task. A room that may block may do all that it may anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Local<R>(R);

impl<R> Deref for Local<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.0
    }
}

impl<R: Clone + Send + 'static> Local<R> {
    /// Works where it may block.
    pub(crate) async fn run<T: Send + 'static>(
        room: &R,
        host: &Host,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let local = Self(room.clone());
        host.in_turn(move || work(&local)).await
    }
}
