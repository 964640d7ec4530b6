//! Pictures: PNG (RFC 2083) of eight bits without interlacing, and binary PGM and PPM.

use starling_archives::zip::crc32;

const SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";
/// Longest edge.
const MAX_EDGE: usize = 4_096;

/// Rows of pixels, each of `channels` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 for grey, 3 for colours; transparency is left out.
    pub channels: usize,
    /// (height, width, channels).
    pub pixels: Vec<u8>,
}

impl Picture {
    /// The picture as a binary PGM or PPM.
    #[must_use]
    pub fn to_portable(&self) -> Vec<u8> {
        let kind = if self.channels == 1 { "P5" } else { "P6" };
        let mut file = format!("{kind}\n{} {}\n255\n", self.width, self.height).into_bytes();
        file.extend_from_slice(&self.pixels);
        file
    }
}

/// Reads a picture by what its bytes begin with.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read_picture(bytes: &[u8]) -> Result<Picture, String> {
    match bytes {
        _ if bytes.starts_with(SIGNATURE) => png(bytes),
        [b'P', b'5' | b'6', ..] => portable(bytes),
        [0xFF, 0xD8, ..] => Err("a JPEG, which is not supported: convert it to PNG".to_owned()),
        _ => Err("neither a PNG nor a binary PGM or PPM".to_owned()),
    }
}

fn portable(bytes: &[u8]) -> Result<Picture, String> {
    let channels = if bytes[1] == b'5' { 1 } else { 3 };
    let (mut numbers, mut at) = (Vec::new(), 2);
    while numbers.len() < 3 {
        match bytes.get(at) {
            Some(byte) if byte.is_ascii_whitespace() => at += 1,
            Some(b'#') => at += bytes[at..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - at),
            Some(byte) if byte.is_ascii_digit() => {
                let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number = std::str::from_utf8(&bytes[at..at + digits]).ok().and_then(|digits| digits.parse::<usize>().ok());
                numbers.push(number.ok_or("its size is too large")?);
                at += digits;
            }
            _ => return Err("its header ends too early".to_owned()),
        }
    }
    let (width, height) = (numbers[0], numbers[1]);
    check_size(width, height)?;
    if numbers[2] != 255 {
        return Err(format!("its greatest value is {}, only 255 is supported", numbers[2]));
    }
    let pixels = bytes.get(at + 1..).unwrap_or_default();
    if pixels.len() != width * height * channels {
        return Err(format!("{} bytes of pixels where {} belong", pixels.len(), width * height * channels));
    }
    Ok(Picture { width, height, channels, pixels: pixels.to_vec() })
}

fn png(bytes: &[u8]) -> Result<Picture, String> {
    let (mut rest, mut header, mut data) = (&bytes[SIGNATURE.len()..], None, Vec::new());
    loop {
        let (length, after) = rest.split_first_chunk::<4>().ok_or("it ends without its last part")?;
        let length = u32::from_be_bytes(*length) as usize;
        let body = after.get(..length.checked_add(4).ok_or("damaged")?).ok_or("it ends within a part")?;
        let (sum, next) = after[body.len()..].split_first_chunk::<4>().ok_or("it ends within a part")?;
        if crc32(body) != u32::from_be_bytes(*sum) {
            return Err("a part's checksum does not hold".to_owned());
        }
        let (kind, content) = body.split_at(4);
        match kind {
            b"IHDR" => header = Some(content.to_vec()),
            b"IDAT" => data.extend_from_slice(content),
            b"IEND" => break,
            _ => {}
        }
        rest = next;
    }
    let header = header.filter(|header| header.len() == 13).ok_or("it has no header")?;
    let edge = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
    let (width, height) = (edge(0), edge(4));
    check_size(width, height)?;
    let (channels, kept) = match (header[8], header[9], header[12]) {
        (8, 0, 0) => (1, 1),
        (8, 2, 0) => (3, 3),
        (8, 4, 0) => (2, 1),
        (8, 6, 0) => (4, 3),
        (8, 3, _) => return Err("its colours come from a palette: convert it to grey or true colour".to_owned()),
        (8, _, _) => return Err("it is interlaced: save it without".to_owned()),
        (bits, ..) => return Err(format!("it has {bits} bits a channel, only 8 are supported")),
    };
    let stride = width * channels;
    let size = height * (stride + 1);
    let lines = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(&data, size).map_err(|_| "its compressed pixels are damaged")?;
    if lines.len() != size {
        return Err(format!("{} bytes of pixels where {size} belong", lines.len()));
    }
    let (mut before, mut pixels) = (vec![0; stride], Vec::with_capacity(width * height * kept));
    for line in lines.chunks_exact(stride + 1) {
        let mut row = line[1..].to_vec();
        unfilter(line[0], &mut row, &before, channels)?;
        pixels.extend(row.chunks_exact(channels).flat_map(|pixel| pixel[..kept].iter().copied()));
        before = row;
    }
    Ok(Picture { width, height, channels: kept, pixels })
}

/// Puts back what a PNG's filter took off: the byte to the left, above, their mean, or the nearest of three.
fn unfilter(filter: u8, row: &mut [u8], above: &[u8], channels: usize) -> Result<(), String> {
    for at in 0..row.len() {
        let left = if at >= channels { row[at - channels] } else { 0 };
        let corner = if at >= channels { above[at - channels] } else { 0 };
        let predicted = match filter {
            0 => 0,
            1 => left,
            2 => above[at],
            3 => left.midpoint(above[at]),
            4 => {
                let [a, b, c] = [left, above[at], corner].map(i16::from);
                let [to_a, to_b, to_c] = [(b - c).abs(), (a - c).abs(), (a + b - 2 * c).abs()];
                if to_a <= to_b && to_a <= to_c {
                    left
                } else if to_b <= to_c {
                    above[at]
                } else {
                    corner
                }
            }
            other => return Err(format!("a row has the unknown filter {other}")),
        };
        row[at] = row[at].wrapping_add(predicted);
    }
    Ok(())
}

fn check_size(width: usize, height: usize) -> Result<(), String> {
    if (1..=MAX_EDGE).contains(&width) && (1..=MAX_EDGE).contains(&height) {
        return Ok(());
    }
    Err(format!("{width} x {height} pixels: each edge has 1 to {MAX_EDGE}"))
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn random(width: usize, height: usize, channels: usize) -> Picture {
        let mut stream = Stream::new("picture test", 1, &[]);
        let pixels = (0..width * height * channels).map(|_| u8::try_from(stream.below(256)).expect("a byte")).collect();
        Picture { width, height, channels, pixels }
    }

    fn chunk(kind: &[u8], content: &[u8]) -> Vec<u8> {
        let body = [kind, content].concat();
        [&u32::try_from(content.len()).expect("small").to_be_bytes()[..], &body, &crc32(&body).to_be_bytes()].concat()
    }

    /// As other programs write it, each row with another filter.
    fn as_png(picture: &Picture, kind: u8) -> Vec<u8> {
        let (stride, channels) = (picture.width * picture.channels, picture.channels);
        let mut lines = Vec::new();
        for (index, row) in picture.pixels.chunks_exact(stride).enumerate() {
            let above = if index == 0 { vec![0; stride] } else { picture.pixels[(index - 1) * stride..index * stride].to_vec() };
            let filter = u8::try_from(index % 5).expect("small");
            lines.push(filter);
            for at in 0..stride {
                let left = if at >= channels { row[at - channels] } else { 0 };
                let corner = if at >= channels { above[at - channels] } else { 0 };
                let estimate = i16::from(left) + i16::from(above[at]) - i16::from(corner);
                let nearest =
                    [left, above[at], corner].into_iter().min_by_key(|value| (estimate - i16::from(*value)).abs()).expect("three");
                let predicted = [0, left, above[at], u8::try_from((u16::from(left) + u16::from(above[at])) / 2).expect("a byte"), nearest];
                lines.push(row[at].wrapping_sub(predicted[usize::from(filter)]));
            }
        }
        let edge = |edge: usize| u32::try_from(edge).expect("small").to_be_bytes();
        let header = [&edge(picture.width)[..], &edge(picture.height), &[8, kind, 0, 0, 0]].concat();
        let data = miniz_oxide::deflate::compress_to_vec_zlib(&lines, 6);
        let (first, second) = data.split_at(data.len() / 2);
        [
            SIGNATURE.to_vec(),
            chunk(b"IHDR", &header),
            chunk(b"tEXt", b"x\0y"),
            chunk(b"IDAT", first),
            chunk(b"IDAT", second),
            chunk(b"IEND", b""),
        ]
        .concat()
    }

    #[test]
    fn picture__should_read_all_filters_and_leave_transparency_out() {
        for (channels, kind, kept) in [(1, 0, 1), (3, 2, 3), (2, 4, 1), (4, 6, 3)] {
            let picture = random(7, 11, channels);
            let read = read_picture(&as_png(&picture, kind)).expect("readable");
            let pixels: Vec<u8> = picture.pixels.chunks(channels).flat_map(|pixel| pixel[..kept].to_vec()).collect();
            assert_eq!(read, Picture { channels: kept, pixels, ..picture });
        }
        for channels in [1, 3] {
            let picture = random(5, 4, channels);
            assert_eq!(read_picture(&picture.to_portable()).expect("readable"), picture);
        }
    }

    #[test]
    fn picture__should_say_what_is_wrong() {
        let refused = |bytes: &[u8]| read_picture(bytes).expect_err("refused");
        assert!(refused(b"GIF89a").contains("neither"));
        assert!(refused(&[0xFF, 0xD8, 0xFF]).contains("JPEG"));
        assert!(refused(b"P5 2 2 255 abc").contains("3 bytes of pixels where 4 belong"));
        assert!(refused(b"P5 2 2 65535 ").contains("65535"));
        assert!(refused(b"P5 0 2 255 ").contains("each edge"));
        let png = as_png(&random(6, 6, 1), 0);
        assert!(refused(&as_png(&random(2, 2, 1), 3)).contains("palette"));
        for cut in 0..png.len() {
            assert!(read_picture(&png[..cut]).is_err(), "cut at {cut}");
        }
        for at in 8..png.len() {
            let mut damaged = png.clone();
            damaged[at] ^= 0x55;
            assert!(read_picture(&damaged).is_err(), "damaged at {at}");
        }
    }
}
