//! Registration and credentials of a phone, RFC 3261 §10.2 and §22.

use super::{DOMAIN, Message, PASSWORD, Phone};
use crate::ua::digest::{Algorithm, Challenge};

impl Phone {
    /// Registers its contact.
    ///
    /// # Panics
    ///
    /// It is not accepted.
    pub async fn register(&mut self) -> Message {
        let register = self.registration();
        let answer = self.authorized(register).await;
        assert_eq!(answer.status(), Some(200), "{answer}");
        answer
    }

    /// A REGISTER of its contact with the next number.
    pub fn registration(&mut self) -> Message {
        self.registers += 1;
        let (via, aor, tag) = (self.via(), self.aor(), self.fresh());
        Message::request("REGISTER", &format!("sip:{DOMAIN}"))
            .with("Via", &via)
            .with("Max-Forwards", "70")
            .with("From", &format!("<{aor}>;tag={tag}"))
            .with("To", &format!("<{aor}>"))
            .with("Call-ID", &format!("reg-{}", self.mark))
            .with("CSeq", &format!("{} REGISTER", self.registers))
            .with("Contact", &format!("<{}>", self.contact()))
            .with("Content-Length", "0")
    }

    /// Sends a request, answers the challenge, and gives the final answer to that.
    pub async fn authorized(&mut self, request: Message) -> Message {
        let user = self.user.clone();
        self.proven(request, &user, PASSWORD, Algorithm::Sha256).await
    }

    /// The same as somebody: three challenges at most are answered, a nonce may have grown stale.
    pub async fn proven(
        &mut self,
        request: Message,
        user: &str,
        password: &str,
        algorithm: Algorithm,
    ) -> Message {
        let mut request = request;
        for _ in 0..2 {
            self.send(&request).await;
            let answer = self.final_answer(&request).await;
            let Some((mut challenge, _)) = self.challenge(&answer, algorithm) else { return answer };
            self.acknowledge(&request, &answer).await;
            request = self.prove(request, &mut challenge, user, password);
        }
        self.send(&request).await;
        let answer = self.final_answer(&request).await;
        self.acknowledge(&request, &answer).await;
        answer
    }

    /// The next request after a challenge: RFC 3261 §22.2, with the next number and a new branch.
    pub fn prove(
        &mut self,
        request: Message,
        challenge: &mut Challenge,
        user: &str,
        password: &str,
    ) -> Message {
        // RFC 3261 §22.2: the registrar challenges a REGISTER; §22.3: a proxy everything else.
        let name = if request.method() == "REGISTER" { "Authorization" } else { "Proxy-Authorization" };
        let credentials = challenge.answer(user, password, request.method(), request.uri());
        self.once_more(request).with(name, &credentials)
    }

    /// The same request as a new one: next number, new branch.
    pub fn once_more(&mut self, request: Message) -> Message {
        let (via, number, method) = (self.via(), request.number() + 1, request.method().to_owned());
        if method == "REGISTER" {
            self.registers = self.registers.max(number);
        }
        request.with_top("Via", &via).with("CSeq", &format!("{number} {method}"))
    }

    /// The challenge of an answer, and whether it says that the nonce was stale.
    pub fn challenge(&self, answer: &Message, algorithm: Algorithm) -> Option<(Challenge, bool)> {
        let lines =
            answer.all(if answer.status()? == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" });
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let challenge = Challenge::choose(&lines, algorithm)?;
        let stale = challenge.stale;
        Some((challenge, stale))
    }

    async fn acknowledge(&mut self, request: &Message, answer: &Message) {
        if request.method() == "INVITE" && answer.status() >= Some(300) {
            self.send(&Self::ack(request, answer)).await;
        }
    }
}
