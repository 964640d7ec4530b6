//! Images with classes, out of an archive whose folders name the classes.

use std::sync::Arc;

use super::labelled::{class, classes_of};
use super::{ArchiveEntry, Batch, Picture, read_picture};
use crate::error::{Result, TrainingError};
use crate::parameters::Array;

/// Images of one size with the class of each; cheap to clone.
#[derive(Clone, Debug)]
pub struct Images {
    pixels: Arc<[u8]>, // (images, channels, height, width)
    targets: Arc<[u32]>,
    size: [usize; 3], // channels, height, width
    classes: Arc<[String]>,
}

/// The images of an archive's entries, `CLASS/NAME.png` each; `name` stands for the archive in errors.
///
/// `like` are the training images, whose size and classes these must have; none where these are it.
///
/// # Errors
/// [`TrainingError::BadData`], naming the file: one in no folder or of an unknown class, one that is no picture or of
/// another size than the others, fewer than two classes.
pub fn read_images(entries: &[ArchiveEntry], like: Option<&Images>, name: &str) -> Result<Images> {
    let bad = |path: &str, why: String| TrainingError::bad_data(name, 0, path, why);
    let mut labels = Vec::with_capacity(entries.len());
    for entry in entries {
        let folder = entry.path.rsplit_once('/').map(|(folders, _)| folders.rsplit('/').next().unwrap_or(folders));
        let folder = folder.filter(|folder| !folder.is_empty());
        labels.push(folder.ok_or_else(|| bad(&entry.path, "it is in no folder that names its class".to_owned()))?);
    }
    let classes = like.map_or_else(|| classes_of(labels.iter().copied()), |like| like.classes.to_vec());
    if classes.len() < 2 {
        return Err(bad("", format!("{} classes: the archive needs two folders at least", classes.len())));
    }
    let mut size = like.map(|like| like.size);
    let (mut pixels, mut targets) = (Vec::new(), Vec::with_capacity(entries.len()));
    for (entry, label) in entries.iter().zip(labels) {
        targets.push(class(&classes, label, |why| bad(&entry.path, why))?);
        let picture = read_picture(&entry.bytes).map_err(|why| bad(&entry.path, why))?;
        let found = [picture.channels, picture.height, picture.width];
        let [channels, height, width] = *size.get_or_insert(found);
        if found != [channels, height, width] {
            let why = format!(
                "{} x {} pixels of {} channels, where the others have {width} x {height} of {channels}",
                picture.width, picture.height, picture.channels
            );
            return Err(bad(&entry.path, why));
        }
        pixels.extend(channels_first(&picture));
    }
    let size = size.ok_or_else(|| bad("", "no image".to_owned()))?;
    Ok(Images { pixels: pixels.into(), targets: targets.into(), size, classes: classes.into() })
}

/// (channels, height, width).
fn channels_first(picture: &Picture) -> impl Iterator<Item = u8> {
    (0..picture.channels).flat_map(|channel| picture.pixels.iter().skip(channel).step_by(picture.channels).copied())
}

/// A picture as a batch of its own; its class is not known and set to the first.
pub(crate) fn lone_picture(picture: &Picture) -> Batch {
    let size = [picture.channels, picture.height, picture.width];
    Images { pixels: channels_first(picture).collect(), targets: [0].into(), size, classes: [].into() }.at(&[0])
}

impl Images {
    /// Images there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is none, which cannot be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// 1 for grey, 3 for colours.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.size[0]
    }

    /// Height and width in pixels.
    #[must_use]
    pub fn edges(&self) -> (usize, usize) {
        (self.size[1], self.size[2])
    }

    /// Names of the classes, in the order of their numbers.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Images as numbers from -1 to 1.
    pub(super) fn at(&self, indices: &[usize]) -> Batch {
        let each: usize = self.size.iter().product();
        let pixels = indices.iter().flat_map(|index| &self.pixels[index * each..(index + 1) * each]);
        let values = pixels.map(|pixel| f32::from(*pixel) * (2.0 / 255.0) - 1.0).collect();
        let [channels, height, width] = self.size;
        let targets = indices.iter().map(|index| self.targets[*index]).collect();
        Batch::Images { images: Array { shape: vec![indices.len(), channels, height, width], values }, targets }
    }
}

/// An archive's entry with a picture in it.
impl ArchiveEntry {
    /// `CLASS/NAME.pgm` or `.ppm` of a picture.
    #[must_use]
    pub fn of_picture(class: &str, name: &str, picture: &Picture) -> Self {
        let ending = if picture.channels == 1 { "pgm" } else { "ppm" };
        Self { path: format!("{class}/{name}.{ending}"), bytes: picture.to_portable() }
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn entry(class: &str, channels: usize, width: usize) -> ArchiveEntry {
        let pixels = (0..width * 2 * channels).map(|index| u8::try_from(index * 3).expect("small")).collect();
        ArchiveEntry::of_picture(class, "x", &Picture { width, height: 2, channels, pixels })
    }

    #[test]
    fn images__should_put_channels_first_and_scale_to_one() {
        let images = read_images(&[entry("b", 3, 2), entry("a", 3, 2)], None, "t").expect("alike");
        assert_eq!((images.len(), images.channels(), images.edges()), (2, 3, (2, 2)));
        assert_eq!(images.classes(), ["a", "b"]);
        let Batch::Images { images: batch, targets } = images.at(&[0]) else { panic!("images") };
        assert_eq!((batch.shape.as_slice(), &*targets), ([1, 3, 2, 2].as_slice(), [1].as_slice()));
        let bytes: Vec<f32> = batch.values.iter().map(|value| (value + 1.0) * 127.5).collect();
        let expected = [0, 9, 18, 27, 3, 12, 21, 30, 6, 15, 24, 33];
        assert!(bytes.iter().zip(expected).all(|(found, expected)| (found - expected as f32).abs() < 1e-3), "{bytes:?}");
    }

    #[test]
    fn images__should_name_the_file_at_fault() {
        let refused =
            |entries: &[ArchiveEntry], like: Option<&Images>| read_images(entries, like, "t.zip").expect_err("refused").to_string();
        let loose = ArchiveEntry { path: "x.pgm".to_owned(), ..entry("a", 1, 2) };
        assert_eq!(refused(&[loose], None), "t.zip, `x.pgm`: it is in no folder that names its class");
        assert!(refused(&[entry("a", 1, 2)], None).contains("two folders"));
        assert_eq!(
            refused(&[entry("a", 1, 2), entry("b", 1, 3)], None),
            "t.zip, `b/x.pgm`: 3 x 2 pixels of 1 channels, where the others have 2 x 2 of 1"
        );
        let train = read_images(&[entry("a", 1, 2), entry("b", 1, 2)], None, "t.zip").expect("alike");
        assert!(refused(&[entry("c", 1, 2)], Some(&train)).contains("none of the classes a, b"));
        let text = ArchiveEntry { path: "a/readme".to_owned(), bytes: b"text".to_vec() };
        assert!(refused(&[text, entry("b", 1, 2)], None).contains("`a/readme`: neither a PNG"));
    }
}
