//! Checks single parts of a request, for code that takes it apart.

use super::{Stop, Validator};
use crate::ids::Ids;
use crate::invalid::Invalid;
use crate::schema::{self, Shape};

impl Validator<'_> {
    /// Checks one part of a request by itself, the ids of a span included. The counts are in
    /// [`Validator::summary`] afterwards, whatever the result.
    pub(crate) fn part(&mut self, shape: &'static Shape, body: &[u8]) -> Result<(), Invalid> {
        self.ids = Ids::NONE;
        let checked = self.message(shape, body, self.depth());
        match checked.and_then(|()| self.check_decoded()) {
            Ok(()) if core::ptr::eq(shape, &schema::SPAN) && !self.ids.are_valid() => {
                Err(Invalid::NoId)
            }
            Ok(()) => Ok(()),
            Err(Stop) => Err(self.why(shape)),
        }
    }

    /// Adds a message to the sums without looking into it.
    pub(crate) fn add(&mut self, shape: &'static Shape) -> Result<(), Invalid> {
        self.decoded(shape.size);
        self.check_decoded().map_err(|Stop| self.why(shape))
    }

    /// Checks one field of a message by itself, and returns what follows it.
    pub(crate) fn one_field<'b>(
        &mut self,
        shape: &'static Shape,
        key: u32,
        after: &'b [u8],
    ) -> Result<&'b [u8], Invalid> {
        let checked = self.field(shape, key, after, self.depth());
        checked.map_err(|Stop| self.why(shape))
    }

    /// Returns the reason why the check stopped.
    fn why(&mut self, shape: &'static Shape) -> Invalid {
        let (what, offset) = (shape.what, 0);
        let unknown = Invalid::Malformed { what, offset };
        self.invalid.take().unwrap_or(unknown)
    }
}
