//! Arrays in safetensors files: written with sorted names and sorted keys, so that equal contents are equal bytes.

use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors};

use crate::error::{Result, TrainingError};
use crate::parameters::{Array, Parameters};

/// The file of `arrays` and `metadata`.
///
/// The layout is that of the safetensors format: a length, a JSON header, and little-endian data in the order of names.
pub(crate) fn write(arrays: &Parameters, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!(metadata));
    let mut offset = 0;
    for (name, array) in arrays {
        let end = offset + 4 * array.values.len();
        header.insert(name.clone(), serde_json::json!({ "dtype": "F32", "shape": array.shape, "data_offsets": [offset, end] }));
        offset = end;
    }
    let mut header = starling_rounds::recipe::canonical_text(&serde_json::Value::Object(header)).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = Vec::with_capacity(8 + header.len() + offset);
    file.extend_from_slice(&(header.len() as u64).to_le_bytes());
    file.extend_from_slice(&header);
    for array in arrays.values() {
        file.extend(array.values.iter().flat_map(|value| value.to_le_bytes()));
    }
    file
}

/// Arrays and metadata of a safetensors file.
///
/// # Errors
/// [`TrainingError::BadCheckpoint`] for anything that is not such a file of `f32` arrays.
pub(crate) fn read(file: &[u8]) -> Result<(Parameters, BTreeMap<String, String>)> {
    let bad = |error: safetensors::SafeTensorError| TrainingError::BadCheckpoint(error.to_string());
    let (_, header) = SafeTensors::read_metadata(file).map_err(bad)?;
    let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    let tensors = SafeTensors::deserialize(file).map_err(bad)?;
    let mut arrays = Parameters::new();
    for (name, view) in tensors.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(TrainingError::BadCheckpoint(format!("tensor `{name}` is {:?}, not F32", view.dtype())));
        }
        let floats = view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        arrays.insert(name.to_owned(), Array { shape: view.shape().to_vec(), values: floats.collect() });
    }
    Ok((arrays, metadata))
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn sample() -> (Parameters, BTreeMap<String, String>) {
        let arrays = [("b", vec![2, 2], vec![1.0, -0.0, f32::MIN_POSITIVE, 4.5]), ("a.1", vec![], vec![7.0])];
        let arrays = arrays.map(|(name, shape, values)| (name.to_owned(), Array { shape, values })).into();
        (arrays, [("format".to_owned(), "pt".to_owned()), ("x".to_owned(), "\"quoted\"".to_owned())].into())
    }

    #[test]
    fn file__should_give_back_what_was_written_and_be_the_same_each_time() {
        let (arrays, metadata) = sample();
        let file = write(&arrays, &metadata);
        assert_eq!(file, write(&arrays, &metadata));
        assert_eq!(read(&file).expect("readable"), (arrays, metadata));
    }

    #[test]
    fn read__should_refuse_damaged_files() {
        let (arrays, metadata) = sample();
        let file = write(&arrays, &metadata);
        for damaged in [&file[..file.len() - 1], &file[..12], &[], b"not a tensor file at all"] {
            assert!(matches!(read(damaged), Err(TrainingError::BadCheckpoint(_))));
        }
    }
}
