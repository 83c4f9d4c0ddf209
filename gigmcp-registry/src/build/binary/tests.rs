use super::*;

/// An ELF program with these segments: kind and content.
fn elf(kind: u16, machine: u16, segments: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend(kind.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(0x1000u64.to_le_bytes());
    file.extend(64u64.to_le_bytes());
    file.resize(54, 0);
    file.extend(56u16.to_le_bytes());
    file.extend((segments.len() as u16).to_le_bytes());
    file.resize(64, 0);
    let mut at = 64 + 56 * segments.len();
    for (kind, content) in segments {
        let mut header = [0; 56];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..16].copy_from_slice(&(at as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(content.len() as u64).to_le_bytes());
        file.extend(header);
        at += content.len();
    }
    segments.iter().for_each(|(_, content)| file.extend(*content));
    file
}

fn dynamic(tag: u64) -> Vec<u8> {
    [tag.to_le_bytes(), 9u64.to_le_bytes(), 0u64.to_le_bytes(), 0u64.to_le_bytes()].concat()
}

#[test]
fn only_static_programs_are_taken() {
    let (plain, needed) = (dynamic(5), dynamic(1));
    let loader: &[u8] = b"/lib64/ld-linux-x86-64.so.2\0";
    let needs = |needs: &str| Err(BinaryFault::Dynamic { needs: needs.to_owned() });
    let mut starts_nowhere = elf(3, 62, &[]);
    starts_nowhere[24..32].fill(0);
    let mut wide = elf(2, 62, &[]);
    wide[4] = 1;
    let whole = elf(2, 62, &[(1, b"code"), (2, &plain)]);
    for (case, file, expected) in [
        ("static", whole.clone(), Ok(Platform::Amd64)),
        ("static, at any place", elf(3, 183, &[(2, &plain)]), Ok(Platform::Arm64)),
        ("a loader", elf(3, 62, &[(3, loader)]), needs("/lib64/ld-linux-x86-64.so.2")),
        ("libraries without a loader", elf(3, 62, &[(2, &needed)]), needs("shared libraries")),
        ("a library", starts_nowhere, Err(BinaryFault::NoProgram)),
        ("an object file", elf(1, 62, &[]), Err(BinaryFault::NoProgram)),
        ("another machine", elf(2, 243, &[]), Err(BinaryFault::Machine { number: 243 })),
        ("32 bits", wide, Err(BinaryFault::Machine { number: 62 })),
        ("cut short", whole[..150].to_vec(), Err(BinaryFault::CutShort)),
        ("a head alone", b"\x7fELF\x02\x01".to_vec(), Err(BinaryFault::CutShort)),
        ("a script", b"#!/bin/sh\nexit\n".to_vec(), Err(BinaryFault::Script { interpreter: "/bin/sh".to_owned() })),
        ("another format", b"MZ".to_vec(), Err(BinaryFault::NotElf)),
        ("nothing", Vec::new(), Err(BinaryFault::NotElf)),
    ] {
        assert_eq!(static_binary(&file), expected, "{case}");
    }
}
