//! Bytes that Kafka 4.4.0's own classes read and wrote, for what the `kafka-protocol` crate does not know: the
//! newest versions, and the records of the coordinator and metadata logs.

use ottla_wire::Message;

const GOLDEN: &str = include_str!("golden.txt");

/// Fields of our own, as they are shown when they have their default: tagged, and absent from what Kafka writes.
const OWN: &[&str] = &[", peer_listener: \"\""];

/// Decodes to the values noted beside, and encodes to the same bytes.
fn agrees<M: Message>(version: i16, bytes: &[u8], values: &str) {
    let what = format!("{} v{version}", std::any::type_name::<M>());
    let message = M::from_bytes(bytes.to_vec().into(), version).unwrap_or_else(|e| panic!("{what}: {e}"));
    let shown = OWN.iter().fold(format!("{message:?}"), |shown, own| shown.replace(own, ""));
    assert_eq!(shown, values, "{what}");
    assert_eq!(message.to_bytes(version).unwrap().bytes, bytes, "{what}");
}

macro_rules! apis {
    ($($module:ident, $request:ident, $response:ident;)*) => {
        fn api(name: &str, version: i16, bytes: &[u8], values: &str) -> bool {
            match name {
                $(
                    stringify!($request) => agrees::<ottla_wire::$module::$request>(version, bytes, values),
                    stringify!($response) => agrees::<ottla_wire::$module::$response>(version, bytes, values),
                )*
                _ => return false,
            }
            true
        }
    };
}
ottla_wire::with_requests!(apis);

macro_rules! stored {
    ($($message:path;)*) => {
        fn stored(name: &str, version: i16, bytes: &[u8], values: &str) -> bool {
            $(
                if std::any::type_name::<$message>().ends_with(&format!("::{name}")) {
                    agrees::<$message>(version, bytes, values);
                    return true;
                }
            )*
            false
        }

        /// Every stored message in every version.
        fn stored_count() -> usize {
            use ottla_wire::Stored;
            [$(<$message>::VERSIONS.count()),*].into_iter().sum()
        }
    };
}
ottla_wire::with_stored!(stored);

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn kafkas_own_bytes_mean_the_same_to_us() {
    let mut lines = GOLDEN.lines().filter(|line| !line.starts_with('#'));
    let (mut apis, mut others) = (0, 0);
    while let Some(head) = lines.next() {
        let values = lines.next().unwrap().trim_start();
        let [name, version, digits] = head.split(' ').collect::<Vec<_>>()[..] else { panic!("{head}") };
        let (version, bytes) = (version.parse().unwrap(), unhex(digits));
        if api(name, version, &bytes, values) {
            apis += 1;
        } else {
            assert!(stored(name, version, &bytes, values), "{name}");
            others += 1;
        }
    }
    assert_eq!(apis, 18);
    assert_eq!(others, stored_count());
}
