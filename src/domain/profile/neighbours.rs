//! Checks several profiles on one host: what they must share, and what they must not.

use super::checked::Profile;
use crate::domain::problem::{Kind, Problem};

impl Profile {
    /// Checks that profiles of one service share its address, and that two services do not share one.
    ///
    /// # Errors
    /// [`Kind::Usage`] that names both profiles and both addresses.
    pub fn same_service(profiles: &[&Self]) -> Result<(), Problem> {
        for (index, one) in profiles.iter().enumerate() {
            for other in &profiles[index + 1..] {
                one.beside(other)?;
            }
        }
        Ok(())
    }

    fn beside(&self, other: &Self) -> Result<(), Problem> {
        let (one, two) = (&self.name, &other.name);
        let (here, there) = (self.listen, other.listen);
        if self.service == other.service && here != there {
            return Err(Problem::new(
                Kind::Usage,
                format!(
                    "profiles `{one}` and `{two}` are one service, `{}`, at two addresses: {} and {}",
                    self.service,
                    here.authority(),
                    there.authority()
                ),
            )
            .help("clients must find the service where it was: give both the same `[listen]`, or each its own `service`"));
        }
        if self.service != other.service && here.overlaps(there) {
            return Err(Problem::new(
                Kind::Usage,
                format!(
                    "services `{}` (profile `{one}`) and `{}` (profile `{two}`) would both listen at port {}",
                    self.service, other.service, here.port
                ),
            )
            .help("only one can have it: give one of them another `listen.port`, or both the same `service` if one is to replace the other"));
        }
        Ok(())
    }
}
