use std::sync::{Arc, Mutex};

use gigmcp_vault::{AuditSink, Exposure, KeyRing, Reason, SecretBytes, Vault};

use crate::context;

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl AuditSink for Log {
    fn exposed(&self, exposure: Exposure<'_>) {
        let Exposure { context, reason, .. } = exposure;
        self.0.lock().unwrap().push(format!("{}/{}@{}: {reason}", context.tenant, context.secret, context.version));
    }
}

#[test]
fn each_exposure_reaches_the_audit_with_its_reason() {
    let log = Arc::new(Log::default());
    let vault = Vault::new(KeyRing::generate().unwrap()).audited(Arc::<Log>::clone(&log));
    let token = SecretBytes::from(b"token".to_vec());
    token.expose(Reason::new("not out of a vault"), |_| ());
    let sealed = vault.seal(&context(), token).unwrap();
    let opened = vault.open(&context(), &sealed).unwrap();
    assert_eq!(*log.0.lock().unwrap(), [""; 0], "opening shows it to nobody");

    opened.expose(Reason::new("send to upstream"), |bytes| {
        assert_eq!(bytes, b"token");
        assert_eq!(log.0.lock().unwrap().len(), 1, "told before it is lent");
    });
    opened.into_text().unwrap().expose(Reason::new("show to its owner"), |text| assert_eq!(text, "token"));
    assert_eq!(
        *log.0.lock().unwrap(),
        ["profile-7/github/token@3: send to upstream", "profile-7/github/token@3: show to its owner"]
    );
}
