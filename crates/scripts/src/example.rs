//! An example folder: a regression on a CSV with scikit-learn, metrics and outputs.

/// Its files, as path and text.
pub const EXAMPLE: [(&str, &str); 5] = [
    ("job.toml", include_str!("../example/job.toml")),
    ("requirements.txt", include_str!("../example/requirements.txt")),
    ("main.py", include_str!("../example/main.py")),
    ("houses.csv", include_str!("../example/houses.csv")),
    ("README.md", include_str!("../example/README.md")),
];

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::{Bundle, Entry, JobFile, inspect};

    #[test]
    fn example__should_be_a_job_without_findings() {
        let mut bundle = Bundle::default();
        for (path, text) in EXAMPLE {
            bundle.add(path, Entry { bytes: text.as_bytes().to_vec(), executable: false }).expect("fits");
        }
        let found = inspect(&bundle);
        assert_eq!((found.findings.len(), found.data.as_slice()), (0, ["houses.csv".to_owned()].as_slice()));
        let job = JobFile::read("job.toml", bundle.get("job.toml").expect("there")).expect("a job");
        let requirements = bundle.check_job(&job).expect("fine");
        assert!(requirements.list().iter().any(|requirement| requirement.name == "scikit-learn"));
    }
}
