//! The one place where a kernel's instruction set is chosen.
//!
//! Every kernel gives the same bits on all three levels: a lane of a vector register is a lane of the scalar twin's
//! sixteen-lane array, products are fused into sums everywhere, and lanes are combined by one fixed tree.

use std::ffi::OsStr;
use std::fmt;
use std::sync::OnceLock;

/// Environment variable that holds kernels at a level below the machine's best: `scalar`, `avx2` or `avx512`.
pub const VARIABLE: &str = "FATHOM_ISA";

/// Instruction sets a kernel may be compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Portable code; fused multiply-add may be a library call.
    Scalar,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Isa {
    /// Every level, lowest first.
    const ALL: [Self; 3] = [Self::Scalar, Self::Avx2, Self::Avx512];

    /// The level's name in [`VARIABLE`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

/// Why the level that [`VARIABLE`] asks for cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsaError {
    /// No level has this name.
    Unknown(String),
    /// This machine lacks the level.
    Unavailable {
        /// The level asked for.
        wanted: Isa,
        /// The best there is.
        best: Isa,
    },
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(
                f,
                "{VARIABLE} is `{name}`, but instruction sets are named `scalar`, `avx2` and `avx512`; correct it, or \
                 unset it to use the best this machine has"
            ),
            Self::Unavailable { wanted, best } => write!(
                f,
                "{VARIABLE} is `{}`, but the best this machine has is `{}`; choose that or a lower one, or unset it",
                wanted.name(),
                best.name()
            ),
        }
    }
}

impl std::error::Error for IsaError {}

/// The level that kernels use: the one [`VARIABLE`] asks for, else the best this machine has. The variable is read
/// once; a program asks this when it starts, so that a mistake in it is heard of.
pub fn requested() -> Result<Isa, IsaError> {
    static REQUESTED: OnceLock<Result<Isa, IsaError>> = OnceLock::new();
    REQUESTED
        .get_or_init(|| choose(std::env::var_os(VARIABLE).as_deref(), detect()))
        .clone()
}

fn choose(asked: Option<&OsStr>, best: Isa) -> Result<Isa, IsaError> {
    let Some(name) = asked.filter(|name| !name.is_empty()) else {
        return Ok(best);
    };
    let wanted = Isa::ALL
        .into_iter()
        .find(|isa| name == isa.name())
        .ok_or_else(|| IsaError::Unknown(name.to_string_lossy().into_owned()))?;
    if wanted > best {
        return Err(IsaError::Unavailable { wanted, best });
    }
    Ok(wanted)
}

/// [`requested`], or the best level where the request cannot be met.
pub fn detected() -> Isa {
    static DETECTED: OnceLock<Isa> = OnceLock::new();
    *DETECTED.get_or_init(|| requested().unwrap_or_else(|_| detect()))
}

/// The levels this machine can run, lowest first, whatever is requested.
pub fn available() -> impl Iterator<Item = Isa> {
    let best = detect();
    Isa::ALL.into_iter().filter(move |&isa| isa <= best)
}

/// The best level this machine has.
#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Isa::Avx512,
        (true, false) => Isa::Avx2,
        _ => Isa::Scalar,
    }
}

/// The best level this machine has.
#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Scalar
}

/// How a kernel multiplies eight-bit integers. All ways give the same bits: integer sums have no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Integers {
    /// AVX-512 with VNNI and VBMI.
    #[cfg(target_arch = "x86_64")]
    Vnni512,
    /// AVX2 with AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    Vnni256,
    /// AVX2 alone.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Portable code.
    Plain,
}

/// The best way to multiply integers at level `isa`.
pub(crate) fn integers(isa: Isa) -> Integers {
    #[cfg(target_arch = "x86_64")]
    {
        if isa == Isa::Avx512
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx512vbmi")
        {
            return Integers::Vnni512;
        }
        if isa >= Isa::Avx2 && is_x86_feature_detected!("avxvnni") {
            return Integers::Vnni256;
        }
        if isa >= Isa::Avx2 {
            return Integers::Avx2;
        }
    }
    let _ = isa;
    Integers::Plain
}

/// Compiles one body for every instruction set and calls the version `isa` names.
///
/// The body is plain Rust in the sixteen-lane style of [`crate::lanes`]; the compiler vectorises it inside the
/// versions that may use wider registers. One source keeps the three versions' arithmetic the same by construction.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident = $body:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)?) => {
        $(#[$meta])*
        $vis fn $name(isa: $crate::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            match isa {
                // SAFETY: `Isa::Avx512` is only passed where `isa::detect` found every feature named above.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above, for `Isa::Avx2`.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => $body($($arg),*),
            }
        }
    };
}
pub(crate) use multiversion;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_met_or_explained() {
        let choose = |name: &str, best| choose(Some(OsStr::new(name)), best);
        assert_eq!(super::choose(None, Isa::Avx2), Ok(Isa::Avx2));
        assert_eq!(choose("", Isa::Avx512), Ok(Isa::Avx512));
        for wanted in Isa::ALL {
            assert_eq!(choose(wanted.name(), Isa::Avx512), Ok(wanted));
        }
        let error = choose("avx512", Isa::Avx2).expect_err("there is none");
        assert_eq!(
            error.to_string(),
            "FATHOM_ISA is `avx512`, but the best this machine has is `avx2`; choose that or a lower one, or unset it"
        );
        let error = choose("AVX2", Isa::Avx512).expect_err("names are exact");
        assert!(
            error.to_string().starts_with("FATHOM_ISA is `AVX2`, but"),
            "{error}"
        );
    }

    /// Tests run every level against the others, so the list does not shrink with the request.
    #[test]
    fn what_is_used_is_available() {
        assert_eq!(available().next(), Some(Isa::Scalar));
        assert!(available().any(|isa| isa == detected()));
    }
}
