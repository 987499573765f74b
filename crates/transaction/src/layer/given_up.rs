//! INVITEs that nobody waits for any more, though they may have arrived, RFC 3261 §9.1.

use super::Layer;
use crate::machine::Client;
use crate::{ClientId, Peer};

impl<P: Peer> Layer<P> {
    /// Gives up an INVITE that has had no answer. It is not repeated from now on. A provisional response that comes all
    /// the same is answered with CANCEL, and a refusal with ACK, so that nothing rings for nobody; without any response the
    /// transaction ends by Timer B. Its events are told as before.
    ///
    /// False, and nothing is done, when there is no such INVITE or it has had an answer.
    pub fn give_up(&mut self, id: ClientId) -> bool {
        let is_given_up = match self.clients.get_mut(id.0).map(|entry| &mut entry.machine) {
            Some(Client::Invite(invite)) => invite.give_up(),
            Some(Client::Request(_)) | None => false,
        };
        self.settle_client(id.0);
        is_given_up
    }
}
