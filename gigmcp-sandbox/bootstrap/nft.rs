//! The packet filter of a sandbox with a link: nothing but the host's listeners can be reached.
//!
//! It hangs in the sandbox's own network namespace, is there before the link is, and belongs to the
//! user namespace around the server's, so nothing inside can change it. Routes alone would not do:
//! a socket bound to an interface is sent out on it where no route matches (`SO_BINDTODEVICE`,
//! `IP_PKTINFO`, `IP_UNICAST_IF`).
//!
//! There is no connection tracking, which would be shared state to fill: what belongs to a connection
//! is told by its addresses, its ports and, coming in, by not being the first segment of one.

use std::io;

use crate::netlink::{self, Attributes, Messages};

/// Between whom, and to which ports of the host's end.
pub(crate) struct Filter<'a> {
    pub(crate) sandbox: [u8; 4],
    pub(crate) host: [u8; 4],
    pub(crate) tcp: &'a [u16],
    pub(crate) udp: &'a [u16],
}

impl Filter<'_> {
    /// Puts the filter into the caller's network namespace. All of it, or an error.
    pub(crate) fn load(&self) -> io::Result<()> {
        self.messages().send(netlink::NETFILTER)
    }

    /// What `nft -f` would send for:
    ///
    /// ```text
    /// table inet gigmcp {
    ///   chain output { type filter hook output priority 0; policy drop; … }
    ///   chain input { type filter hook input priority 0; policy drop; … }
    ///   chain forward { type filter hook forward priority 0; policy drop; }
    /// }
    /// ```
    fn messages(&self) -> Messages {
        let mut batch = Messages::default();
        batch.add(BATCH_BEGIN, 0, &BATCH, |_| ());
        batch.add(kind(NEW_TABLE), NEW, &INET, |table| table.string(TABLE_NAME, TABLE));
        for (name, hook) in [(OUTPUT, LOCAL_OUT), (INPUT, LOCAL_IN), ("forward", FORWARD)] {
            batch.add(kind(NEW_CHAIN), NEW, &INET, |chain| {
                chain.string(CHAIN_TABLE, TABLE);
                chain.string(CHAIN_NAME, name);
                chain.nested(CHAIN_HOOK, |place| {
                    place.number(HOOK_NUMBER, hook);
                    place.number(HOOK_PRIORITY, 0);
                });
                chain.number(CHAIN_POLICY, DROP);
                chain.string(CHAIN_TYPE, "filter");
            });
        }
        self.output(&mut batch);
        self.input(&mut batch);
        batch.add(BATCH_END, 0, &BATCH, |_| ());
        batch
    }

    /// What leaves goes to loopback or to one of the ports; everything else fails at once rather than
    /// by waiting.
    fn output(&self, batch: &mut Messages) {
        rule(batch, OUTPUT, |rule| {
            rule.meta(META_OIF);
            rule.equals(&LOOPBACK_INDEX.to_ne_bytes());
            rule.verdict(ACCEPT);
        });
        for (protocol, port) in self.ports() {
            rule(batch, OUTPUT, |rule| {
                rule.between(self.sandbox, self.host, protocol);
                rule.load(TRANSPORT, DESTINATION_PORT, 2);
                rule.equals(&port.to_be_bytes());
                rule.verdict(ACCEPT);
            });
        }
        rule(batch, OUTPUT, |rule| {
            rule.meta(META_L4PROTO);
            rule.equals(&[TCP]);
            rule.expression("reject", |reject| {
                reject.number(REJECT_TYPE, REJECT_TCP_RESET);
                reject.bytes(REJECT_ICMP_CODE, &[0]);
            });
        });
        rule(batch, OUTPUT, |rule| {
            rule.expression("reject", |reject| {
                reject.number(REJECT_TYPE, REJECT_ICMPX);
                reject.bytes(REJECT_ICMP_CODE, &[ICMPX_PORT_UNREACHABLE]);
            });
        });
    }

    /// What comes in is loopback's or an answer. A segment that neither acknowledges nor resets would
    /// open a connection into the sandbox.
    fn input(&self, batch: &mut Messages) {
        rule(batch, INPUT, |rule| {
            rule.meta(META_IIF);
            rule.equals(&LOOPBACK_INDEX.to_ne_bytes());
            rule.verdict(ACCEPT);
        });
        for (protocol, port) in self.ports() {
            rule(batch, INPUT, |rule| {
                rule.between(self.host, self.sandbox, protocol);
                rule.load(TRANSPORT, SOURCE_PORT, 2);
                rule.equals(&port.to_be_bytes());
                if protocol == TCP {
                    rule.load(TRANSPORT, TCP_FLAGS, 1);
                    rule.has_any(TCP_ACK | TCP_RST);
                }
                rule.verdict(ACCEPT);
            });
        }
    }

    fn ports(&self) -> impl Iterator<Item = (u8, u16)> {
        let of = |protocol, ports: &[u16]| ports.iter().map(move |port| (protocol, *port)).collect::<Vec<_>>();
        [of(TCP, self.tcp), of(UDP, self.udp)].into_iter().flatten()
    }
}

fn rule(batch: &mut Messages, chain: &str, expressions: impl FnOnce(&mut Rule<'_, '_>)) {
    batch.add(kind(NEW_RULE), NEW | netlink::APPEND, &INET, |rule| {
        rule.string(RULE_TABLE, TABLE);
        rule.string(RULE_CHAIN, chain);
        rule.nested(RULE_EXPRESSIONS, |list| expressions(&mut Rule(list)));
    });
}

/// The expressions of a rule. Each comparison that fails ends the rule.
struct Rule<'a, 'b>(&'a mut Attributes<'b>);

impl Rule<'_, '_> {
    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.0.nested(LIST_ELEMENT, |element| {
            element.string(EXPRESSION_NAME, name);
            element.nested(EXPRESSION_DATA, fill);
        });
    }

    /// A packet of IPv4 from one to the other without IP options, which could name further hops.
    fn between(&mut self, from: [u8; 4], to: [u8; 4], protocol: u8) {
        self.meta(META_NFPROTO);
        self.equals(&[NFPROTO_IPV4]);
        self.load(NETWORK, 0, 1);
        self.equals(&[VERSION_4_LENGTH_5]);
        self.load(NETWORK, ADDRESSES, 8);
        self.equals(&[from, to].concat());
        self.meta(META_L4PROTO);
        self.equals(&[protocol]);
    }

    fn meta(&mut self, key: u32) {
        self.expression("meta", |meta| {
            meta.number(META_DREG, REGISTER);
            meta.number(META_KEY, key);
        });
    }

    fn load(&mut self, base: u32, offset: u32, length: u32) {
        self.expression("payload", |payload| {
            payload.number(PAYLOAD_DREG, REGISTER);
            payload.number(PAYLOAD_BASE, base);
            payload.number(PAYLOAD_OFFSET, offset);
            payload.number(PAYLOAD_LENGTH, length);
        });
    }

    fn equals(&mut self, value: &[u8]) {
        self.compare(COMPARE_EQUAL, value);
    }

    /// One of these bits is set in the byte loaded.
    fn has_any(&mut self, bits: u8) {
        self.expression("bitwise", |bitwise| {
            bitwise.number(BITWISE_SREG, REGISTER);
            bitwise.number(BITWISE_DREG, REGISTER);
            bitwise.number(BITWISE_LENGTH, 1);
            bitwise.nested(BITWISE_MASK, |mask| mask.bytes(DATA_VALUE, &[bits]));
            bitwise.nested(BITWISE_XOR, |xor| xor.bytes(DATA_VALUE, &[0]));
        });
        self.compare(COMPARE_UNEQUAL, &[0]);
    }

    fn compare(&mut self, how: u32, value: &[u8]) {
        self.expression("cmp", |compare| {
            compare.number(COMPARE_SREG, REGISTER);
            compare.number(COMPARE_HOW, how);
            compare.nested(COMPARE_DATA, |data| data.bytes(DATA_VALUE, value));
        });
    }

    fn verdict(&mut self, verdict: u32) {
        self.expression("immediate", |immediate| {
            immediate.number(IMMEDIATE_DREG, REGISTER_VERDICT);
            immediate.nested(IMMEDIATE_DATA, |data| {
                data.nested(DATA_VERDICT, |code| code.number(VERDICT_CODE, verdict));
            });
        });
    }
}

const fn kind(message: u16) -> u16 {
    const SUBSYSTEM_NFTABLES: u16 = 10;
    SUBSYSTEM_NFTABLES << 8 | message
}

const TABLE: &str = "gigmcp";
const OUTPUT: &str = "output";
const INPUT: &str = "input";
/// The loopback interface is the first of every network namespace.
const LOOPBACK_INDEX: u32 = 1;
const NEW: u16 = netlink::CREATE | netlink::ACK;

// linux/netfilter/nfnetlink.h: family, version, resource in network order
const INET: [u8; 4] = [1, 0, 0, 0];
const BATCH: [u8; 4] = [0, 0, 0, 10];
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
// linux/netfilter.h
const LOCAL_IN: u32 = 1;
const FORWARD: u32 = 2;
const LOCAL_OUT: u32 = 3;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const NFPROTO_IPV4: u8 = 2;
// linux/netfilter/nf_tables.h
const NEW_TABLE: u16 = 0;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const REGISTER_VERDICT: u32 = 0;
const REGISTER: u32 = 1;
const META_DREG: u16 = 1;
const META_KEY: u16 = 2;
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const PAYLOAD_DREG: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LENGTH: u16 = 4;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const COMPARE_SREG: u16 = 1;
const COMPARE_HOW: u16 = 2;
const COMPARE_DATA: u16 = 3;
const COMPARE_EQUAL: u32 = 0;
const COMPARE_UNEQUAL: u32 = 1;
const BITWISE_SREG: u16 = 1;
const BITWISE_DREG: u16 = 2;
const BITWISE_LENGTH: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const IMMEDIATE_DREG: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const REJECT_TYPE: u16 = 1;
const REJECT_ICMP_CODE: u16 = 2;
const REJECT_TCP_RESET: u32 = 1;
const REJECT_ICMPX: u32 = 2;
const ICMPX_PORT_UNREACHABLE: u8 = 1;
// The headers themselves: RFC 791, 793, 768
const VERSION_4_LENGTH_5: u8 = 0x45;
const ADDRESSES: u32 = 12;
const TCP: u8 = 6;
const UDP: u8 = 17;
const SOURCE_PORT: u32 = 0;
const DESTINATION_PORT: u32 = 2;
const TCP_FLAGS: u32 = 13;
const TCP_RST: u8 = 0x04;
const TCP_ACK: u8 = 0x10;
