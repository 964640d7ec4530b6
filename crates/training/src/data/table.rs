//! Tables of numbers with classes: columns scaled to mean 0 and deviation 1 of the training rows.

use std::sync::Arc;

use super::labelled::{class, classes_of};
use super::{Batch, CsvTable};
use crate::error::{Result, TrainingError};
use crate::ops::math::nearest_f32;
use crate::parameters::Array;

/// Rows of numbers with the class of each; cheap to clone.
#[derive(Clone, Debug)]
pub struct Table {
    values: Arc<[f32]>, // (rows, features), scaled
    targets: Arc<[u32]>,
    features: Arc<[String]>,
    classes: Arc<[String]>,
    scaling: Scaling,
}

/// Mean and deviation of each column, which belong to the model: the same numbers scale what it is asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// Of each feature.
    pub means: Vec<f64>,
    /// Of each feature; 1 where all rows are equal.
    pub deviations: Vec<f64>,
}

impl Table {
    /// The rows of `table`, whose column `label` names the class and whose other columns are numbers.
    ///
    /// `like` is the training table, whose columns, classes and scaling these rows must have; none where these are it.
    ///
    /// # Errors
    /// [`TrainingError::BadData`] with row and column: a field that is no finite number, a class or columns that the
    /// training table does not have, fewer than two classes.
    pub fn new(table: &CsvTable, label: &str, like: Option<&Self>) -> Result<Self> {
        let label = table.column(label)?;
        let columns: Vec<usize> = (0..table.header.len()).filter(|column| *column != label).collect();
        let features: Vec<String> = columns.iter().map(|column| table.header[*column].clone()).collect();
        if let Some(like) = like
            && *like.features != *features
        {
            let why = format!("the columns are {}, the model was trained on {}", features.join(", "), like.features.join(", "));
            return Err(TrainingError::bad_data(&table.name, 1, "", why));
        }
        let found = || classes_of(table.rows.iter().map(|row| row[label].as_str()));
        let classes = like.map_or_else(found, |like| like.classes.to_vec());
        if classes.len() < 2 || features.is_empty() {
            let why = format!("{} features and {} classes: one feature and two classes are needed", features.len(), classes.len());
            return Err(table.wrong(0, label, why));
        }
        let (mut values, mut targets) = (Vec::with_capacity(table.rows.len() * columns.len()), Vec::with_capacity(table.rows.len()));
        for (row, fields) in table.rows.iter().enumerate() {
            targets.push(class(&classes, &fields[label], |why| table.wrong(row, label, why))?);
            for column in &columns {
                let field = fields[*column].trim();
                let number = field.parse::<f64>().ok().filter(|number| number.is_finite());
                values.push(number.ok_or_else(|| table.wrong(row, *column, format!("{field:?} is no finite number")))?);
            }
        }
        let scaling = like.map_or_else(|| Scaling::of(&values, columns.len()), |like| like.scaling.clone());
        let scaled = scaling.apply(&values);
        Ok(Self { values: scaled.into(), targets: targets.into(), features: features.into(), classes: classes.into(), scaling })
    }

    /// Rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is none, which cannot be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Names of the columns that are numbers, in order.
    #[must_use]
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// Names of the classes, in the order of their numbers.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What the columns were scaled by.
    #[must_use]
    pub fn scaling(&self) -> &Scaling {
        &self.scaling
    }

    pub(super) fn at(&self, indices: &[usize]) -> Batch {
        let width = self.features.len();
        let values = indices.iter().flat_map(|index| &self.values[index * width..(index + 1) * width]).copied().collect();
        let targets = indices.iter().map(|index| self.targets[*index]).collect();
        Batch::Rows { rows: Array { shape: vec![indices.len(), width], values }, targets }
    }
}

impl Scaling {
    /// Of rows of `width` values.
    fn of(values: &[f64], width: usize) -> Self {
        let rows = (values.len() / width.max(1)).max(1) as f64;
        let column = |column: usize| values.iter().skip(column).step_by(width);
        let means: Vec<f64> = (0..width).map(|index| column(index).sum::<f64>() / rows).collect();
        let deviation = |index: usize| (column(index).map(|value| (value - means[index]).powi(2)).sum::<f64>() / rows).sqrt();
        let deviations = (0..width).map(|index| Some(deviation(index)).filter(|deviation| *deviation > 1e-12).unwrap_or(1.0));
        let deviations = deviations.collect();
        Self { means, deviations }
    }

    /// Rows of values by these numbers.
    pub(crate) fn apply(&self, values: &[f64]) -> Vec<f32> {
        let columns = self.means.iter().zip(&self.deviations).cycle();
        values.iter().zip(columns).map(|(value, (mean, deviation))| nearest_f32((value - mean) / deviation)).collect()
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::data::read_csv;

    fn table(text: &str, like: Option<&Table>) -> Result<Table> {
        Table::new(&read_csv(text.as_bytes(), "t.csv")?, "label", like)
    }

    #[test]
    fn table__should_scale_by_the_training_rows() {
        let train = table("a,label,b\n1,no,5\n3,yes,5\n", None).expect("readable");
        assert_eq!((train.features(), train.len()), (["a".to_owned(), "b".to_owned()].as_slice(), 2));
        assert_eq!(*train.scaling(), Scaling { means: vec![2.0, 5.0], deviations: vec![1.0, 1.0] });
        let other = table("a,label,b\n6,yes,7\n", Some(&train)).expect("alike");
        let Batch::Rows { rows, targets } = other.at(&[0]) else { panic!("rows") };
        assert_eq!((rows.shape, rows.values, &*targets), (vec![1, 2], vec![4.0, 2.0], [1].as_slice()));
    }

    #[test]
    fn table__should_name_row_and_column_of_what_is_wrong() {
        let refused = |text: &str, like: Option<&Table>| table(text, like).expect_err("refused").to_string();
        assert_eq!(refused("a,label\n1,x\nseven,y\n", None), "t.csv, row 3, column `a`: \"seven\" is no finite number");
        assert_eq!(refused("a,label\n1,x\ninf,y\n", None), "t.csv, row 3, column `a`: \"inf\" is no finite number");
        assert!(refused("a,label\n1,x\n", None).contains("two classes are needed"));
        assert!(refused("a,b\n1,x\n", None).contains("no such column"));
        let train = table("a,label\n1,x\n2,y\n", None).expect("readable");
        assert_eq!(refused("a,label\n1,z\n", Some(&train)), "t.csv, row 2, column `label`: \"z\" is none of the classes x, y");
        assert!(refused("c,label\n1,x\n", Some(&train)).contains("the model was trained on a"));
    }
}
