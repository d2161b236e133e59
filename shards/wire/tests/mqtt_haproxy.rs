//! `mqtt::haproxy` and the converters of the real HAProxy say the same about packets of every kind, broken ones and parts of them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringmain_wire::mqtt::haproxy::{Field, PacketType, Tri, field, is_valid};

/// HAProxy with nothing but its stats socket, which evaluates expressions.
struct Haproxy {
    process: Child,
    directory: tempfile::TempDir,
}

/// A sample: type and text, `None` when there is none.
type Sample = Option<(String, String)>;

impl Haproxy {
    /// Starts it; `None` and a message when it is not installed.
    fn start() -> Option<Self> {
        if Command::new("haproxy").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            println!("skipped: haproxy is not installed, so there is nothing to compare with");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display();
        let configuration = format!(
            "global\n stats socket {path}/stats level admin\n tune.bufsize 1000000\n\
             listen unused\n mode tcp\n bind {path}/unused\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n"
        );
        let file = directory.path().join("haproxy.cfg");
        std::fs::write(&file, configuration).unwrap();
        let process = Command::new("haproxy").arg("-db").arg("-f").arg(&file).stderr(Stdio::null()).spawn().unwrap();
        let running = Self { process, directory };
        let deadline = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(running.directory.path().join("stats")).is_err() {
            assert!(Instant::now() < deadline, "haproxy did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(running)
    }

    fn command(&self, line: &str) -> String {
        let mut stream = UnixStream::connect(self.directory.path().join("stats")).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        stream.write_all(b"\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// What each of these converters makes of the bytes, at least one.
    fn samples(&self, bytes: &[u8], converters: &[String]) -> Vec<Sample> {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut samples = Vec::new();
        // A line must fit into a buffer.
        for some in converters.chunks((400_000 / (hex.len() + 200)).max(1)) {
            let mut line = "experimental-mode on".to_owned();
            for converter in some {
                // A variable keeps its value when there is no sample, and -1 is none that these converters give.
                line += &format!(";set var proc.x int(-1);set var proc.x expr bin({hex}),{converter};get var proc.x");
            }
            let answer = self.command(&line);
            let mut values = answer.lines().filter_map(|line| line.strip_prefix("proc.x: type="));
            for converter in some {
                let value = values.next().unwrap_or_else(|| panic!("{converter} gave {answer}"));
                let (kind, value) = value.split_once(" value=<").unwrap();
                let value = value.strip_suffix('>').unwrap();
                samples.push(if (kind, value) == ("sint", "-1") { None } else { Some((kind.to_owned(), value.to_owned())) });
            }
        }
        samples
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Every field that can be asked for, with its converter.
fn fields() -> Vec<(PacketType, Field, String)> {
    let mut fields = Vec::new();
    for packet in [PacketType::Connect, PacketType::Connack] {
        let numbers = Field::properties(packet).iter().map(u8::to_string);
        for name in Field::names(packet).map(str::to_owned).chain(numbers) {
            let converter = format!("mqtt_field_value({},{name}),hex", packet.name());
            fields.push((packet, Field::from_name(packet, &name).unwrap(), converter));
        }
    }
    fields
}

/// What HAProxy is asked instead: a CONNACK without the bytes behind it, see the first difference in the module's documentation.
fn without_differences(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let last = bytes.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0).map(|index| index + 1);
    if let (Some(0x20), Some(last)) = (bytes.first(), last) {
        let remaining = (1..=last).rev().fold(0, |length, index| length << 7 | usize::from(bytes[index] & 0x7F));
        bytes.truncate(last + 1 + remaining);
    }
    bytes
}

/// Compares everything about one input.
fn compare(haproxy: &Haproxy, bytes: &[u8], fields: &[(PacketType, Field, String)]) -> Tri {
    let ours = is_valid(bytes);
    if bytes.len() > 1 && bytes.len() < 5 && bytes[1..].iter().all(|byte| *byte == 0x80) && ours == Tri::NeedMore {
        // The second difference.
        return ours;
    }
    let asked = without_differences(bytes);
    let mut converters = vec!["mqtt_is_valid".to_owned()];
    converters.extend(fields.iter().map(|(_, _, converter)| converter.clone()));
    let mut theirs = haproxy.samples(&asked, &converters).into_iter();
    let valid = match theirs.next().unwrap() {
        None => Tri::NeedMore,
        Some((kind, value)) => {
            assert_eq!(kind, "bool");
            if value == "1" { Tri::Yes } else { Tri::No }
        }
    };
    assert_eq!(ours, valid, "mqtt_is_valid of {bytes:02x?}");
    for ((packet, name, converter), sample) in fields.iter().zip(theirs) {
        let value = field(bytes, *packet, *name).map(|value| value.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect::<String>());
        assert_eq!(value, sample.map(|(_, value)| value), "{converter} of {bytes:02x?}");
    }
    ours
}

fn two(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    while length > 0x7F {
        packet.push(length as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend_from_slice(body);
    packet
}

/// A CONNECT of this protocol name and level with what follows the keep alive of a minute.
fn connect(name: &[u8], level: u8, flags: u8, rest: &[&[u8]]) -> Vec<u8> {
    packet(0x10, &[&two(name)[..], &[level, flags, 0, 60], &rest.concat()].concat())
}

/// Every property that a packet may have, in one list, each with another value.
fn lists() -> [Vec<u8>; 3] {
    let connect =
        b"\x11\x00\x00\x01\x2C\x21\x00\x07\x27\x00\x00\x03\xE8\x22\x00\x09\x19\x01\x17\x01\x26\x00\x01k\x00\x01v\x15\x00\x05SCRAM\
        \x16\x00\x02\x00\xFF\x26\x00\x00\x00\x00";
    let will = b"\x18\x00\x00\x00\x05\x01\x01\x02\xFF\xFF\xFF\xFF\x03\x00\x04text\x08\x00\x03r/1\x09\x00\x02\x01\x02\x26\x00\x01k\x00\x01v";
    let connack = b"\x11\x00\x00\x01\x2C\x21\x00\x07\x24\x01\x25\x01\x27\x00\x00\x03\xE8\x12\x00\x05newid\x22\x00\x09\x1F\x00\x02ok\
        \x26\x00\x01k\x00\x01v\x28\x01\x29\x01\x2A\x01\x13\x00\x37\x1A\x00\x02ri\x1C\x00\x02sr\x15\x00\x02am\x16\x00\x02ad";
    [connect.to_vec(), will.to_vec(), connack.to_vec()]
}

fn counted(list: &[u8]) -> Vec<u8> {
    packet(0, list)[1..].to_vec()
}

/// Packets that HAProxy calls valid.
fn good() -> Vec<Vec<u8>> {
    let [properties, will, connack] = lists();
    let (id, none) = (two(b"abcd"), counted(b""));
    let message = [two(b"t/x"), two(b"bye")].concat();
    let mut packets = vec![
        connect(b"MQTT", 5, 0xC6, &[&counted(&properties), &id, &counted(&will), &message, &two(b"user"), &two(b"password")]),
        connect(b"MQTT", 5, 0x06, &[&none, &id, &none, &message]),
        connect(b"MQTT", 5, 0x06, &[b"\x80\x00", &id, b"\x80\x80\x80\x00", &message]),
        packet(0x20, &[b"\x01\x00", &counted(&connack)[..]].concat()),
        packet(0x20, b"\x00\x87\x00"),
        packet(0x20, b"\x00\x87\x80\x00"),
        packet(0x20, b"\x01\xFF"),
        packet(0x20, b"\x00\x00\x03\x16\x00\x00"),
        b"\x20\x82\x00\x00\x00".to_vec(),
        b"\x10\x90\x80\x00\x00\x04MQTT\x04\x02\x00\x3C\x00\x04abcd".to_vec(),
        b"\x10\x90\x80\x80\x00\x00\x04MQTT\x04\x02\x00\x3C\x00\x04abcd".to_vec(),
        connect(b"mqTt", 4, 2, &[&id]),
        connect(b"MQISDP", 4, 2, &[&id]),
        connect(b"MQTT", 3, 2, &[&id]),
        connect(b"MQIsdp", 5, 2, &[&none, &id]),
        connect(b"MQTT", 4, 0xC2, &[&id, &two(b""), &two(b"")]),
        connect(b"MQTT", 4, 0x42, &[&id, &two(b"only a password")]),
        connect(b"MQTT", 4, 0x06, &[&id, &two(b""), &two(b"")]),
        connect(b"MQTT", 4, 0x06, &[&id, &two(b"#/+"), &two(b"\0")]),
        connect(b"MQTT", 5, 2, &[b"\x03\x16\x00\x00", &id]),
        connect(b"MQTT", 5, 2, &[b"\x03\x15\x00\x00", &id]),
        connect(b"MQTT", 5, 2, &[b"\x08\x16\x00\x01x\x15\x00\x01y", &id]),
    ];
    for level in [3, 4, 5] {
        let name: &[u8] = if level == 3 { b"MQIsdp" } else { b"MQTT" };
        let list: &[u8] = if level == 5 { b"\x00" } else { b"" };
        for length in [0, 1, 23, 24, 127, 128, 1000, 20_000, 65_535] {
            packets.push(connect(name, level, 2, &[list, &two(&vec![b'i'; length])]));
        }
        for id in [&b"a\0b"[..], b"\xFF\xFE", b"\xED\xA0\x80", b"\n> <", "ключ".as_bytes()] {
            packets.push(connect(name, level, 0, &[list, &two(id)]));
        }
    }
    packets
}

/// Packets that HAProxy calls invalid.
fn bad() -> Vec<Vec<u8>> {
    let id = two(b"abcd");
    let plain = connect(b"MQTT", 4, 2, &[&id]);
    let property = |list: &[u8]| connect(b"MQTT", 5, 2, &[&counted(list), &id]);
    let in_will = |list: &[u8]| connect(b"MQTT", 5, 6, &[b"\x00", &id, &counted(list), &two(b"t"), &two(b"p")]);
    let connack = |list: &[u8]| packet(0x20, &[b"\x00\x00", &counted(list)[..]].concat());
    let mut packets = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03".to_vec(),
        b"\x00\x00".to_vec(),
        b"\x10\x00".to_vec(),
        b"\x10\xFF\xFF\xFF\xFF".to_vec(),
        b"\x20\x00".to_vec(),
        b"\x20\x01\x00".to_vec(),
        connect(b"MQTT", 4, 2, &[&id, b"x"]),
        connect(b"MQTT", 4, 2, &[&id, &id]),
        connect(b"MQTT", 4, 2, &[b"\x00\x05abcd"]),
        [&connect(b"MQTT", 4, 2, &[b"\x00\x05abcd"])[..], b"e"].concat(),
        connect(b"MQTT", 4, 0x82, &[&id]),
        connect(b"MQTTT", 4, 2, &[&id]),
        connect(b"", 4, 2, &[&id]),
        connect(b"MQTT", 5, 2, &[&id]),
        connect(b"MQTT", 5, 2, &[b"\x80\x80\x80\x80\x00", &id]),
        connect(b"MQTT", 5, 2, &[b"\x40", &id]),
        connack(b"\x12\x00\x00"),
        connack(b"\x21\x00"),
        packet(0x20, b"\x00\x00\x02\x00"),
        packet(0x20, b"\x02\x00"),
        packet(0x20, b"\x80\x00\x00"),
        property(b"\x16\x00\x01x"),
        property(b"\x15\x00\x00\x16\x00\x01x"),
        property(b"\x26\x00\x01k"),
        property(b"\x91\x00\x00\x00\x00\x01"),
        in_will(b"\x01\x02"),
        in_will(b"\x11\x00\x00\x00\x01"),
    ];
    for level in [0, 1, 2, 6, 0x83, 0x84, 255] {
        packets.push(connect(b"MQTT", level, 2, &[&id]));
        packets.push(connect(b"MQIsdp", level, 2, &[&id]));
    }
    for flags in 1..16 {
        packets.push([&[0x10 | flags], &plain[1..]].concat());
        packets.push([&[flags << 4 | u8::from(flags <= 2)], &plain[1..]].concat());
    }
    for (list, value) in [(33, &b"\x00\x00"[..]), (39, b"\x00\x00\x00\x00"), (23, b"\x02"), (25, b"\xFF")] {
        packets.push(property(&[&[list], value].concat()));
    }
    for number in [36, 37, 40, 41, 42] {
        packets.push(connack(&[number, 2]));
    }
    packets
}

#[test]
fn packets_of_every_kind() {
    let Some(haproxy) = Haproxy::start() else { return };
    let fields = fields();
    let (good, bad) = (good(), bad());
    assert!(good.len() + bad.len() >= 60);
    for bytes in &good {
        assert_eq!(compare(&haproxy, bytes, &fields), Tri::Yes, "{bytes:02x?}");
        assert_eq!(compare(&haproxy, &[bytes, &b"\x30\x00"[..]].concat(), &fields), Tri::Yes, "more after {bytes:02x?}");
    }
    for bytes in &bad {
        assert_eq!(compare(&haproxy, bytes, &fields), Tri::No, "{bytes:02x?}");
    }
}

#[test]
fn every_combination_of_flags() {
    let Some(haproxy) = Haproxy::start() else { return };
    let fields = fields();
    for level in [3, 4, 5] {
        let list: &[u8] = if level == 5 { b"\x00" } else { b"" };
        for flags in 0..=u8::MAX {
            let mut rest = [list, &two(b"id")].concat();
            if flags & 0x04 != 0 {
                rest.extend_from_slice(&[list, &two(b"topic"), &two(b"payload")].concat());
            }
            for (bit, text) in [(0x80, b"user"), (0x40, b"pass")] {
                if flags & bit != 0 {
                    rest.extend_from_slice(&two(text));
                }
            }
            compare(&haproxy, &connect(if level == 3 { b"MQIsdp" } else { b"MQTT" }, level, flags, &[&rest]), &fields);
        }
    }
}

#[test]
fn every_property_in_every_place() {
    let Some(haproxy) = Haproxy::start() else { return };
    for number in 0..=u8::MAX {
        // Each value is one that some kind of property may have; the first byte alone, two, four, a text, two texts.
        for value in [&b"\x01"[..], b"\x00\x01", b"\x00\x00\x00\x01", b"\x00\x01x", b"\x00\x01k\x00\x01v", b"\x00\x00"] {
            let one = [&[number], value].concat();
            for list in [counted(&one), counted(&one.repeat(2))] {
                compare(&haproxy, &connect(b"MQTT", 5, 2, &[&list, &two(b"id")]), &[]);
                compare(&haproxy, &connect(b"MQTT", 5, 6, &[b"\x00", &two(b"id"), &list, &two(b"t"), &two(b"p")]), &[]);
                compare(&haproxy, &packet(0x20, &[b"\x00\x00", &list[..]].concat()), &[]);
            }
        }
    }
}

#[test]
fn parts_of_packets() {
    let Some(haproxy) = Haproxy::start() else { return };
    for bytes in good().iter().chain(&bad()).filter(|bytes| bytes.len() < 200) {
        for end in 1..bytes.len() {
            compare(&haproxy, &bytes[..end], &[]);
        }
    }
}

#[test]
fn packets_with_random_changes() {
    let Some(haproxy) = Haproxy::start() else { return };
    let fields = fields();
    let seeds: Vec<_> = good().into_iter().filter(|bytes| bytes.len() < 300).collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut yes, mut no) = (0, 0);
    for _ in 0..3000 {
        let mut bytes = seeds[random(seeds.len())].clone();
        for _ in 0..=random(2) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = [0, 1, 2, 0x7F, 0x80, 0xFF][random(6)],
                2 => bytes[at] = bytes[at].wrapping_add(1),
                _ => {
                    bytes.remove(at);
                    if bytes.is_empty() {
                        bytes.push(0x10);
                    }
                }
            }
        }
        match compare_or_difference(&haproxy, &bytes, &fields) {
            Tri::Yes => yes += 1,
            Tri::No => no += 1,
            Tri::NeedMore => {}
        }
    }
    assert!(yes > 100 && no > 100, "{yes} valid and {no} invalid");
}

/// Compares, but for packets to which the third or the fourth difference may apply.
fn compare_or_difference(haproxy: &Haproxy, bytes: &[u8], fields: &[(PacketType, Field, String)]) -> Tri {
    let level = field(bytes, PacketType::Connect, Field::ProtocolVersion).map(|value| value.as_bytes().to_vec());
    let missing = |flag: u8, name| {
        let flags =
            field(bytes, PacketType::Connect, Field::Flags).and_then(|value| str::from_utf8(value.as_bytes()).ok()?.parse::<u8>().ok());
        flags.is_some_and(|flags| flags & flag != 0) && field(bytes, PacketType::Connect, name).is_none()
    };
    let level_3 = level.as_deref() == Some(b"3");
    if level_3 && (missing(0x80, Field::Username) || missing(0x40, Field::Password)) {
        return is_valid(bytes);
    }
    if bytes.first() == Some(&0x20) && bytes.ends_with(&[0x80]) && is_valid(bytes) == Tri::No {
        return Tri::No;
    }
    compare(haproxy, bytes, fields)
}
