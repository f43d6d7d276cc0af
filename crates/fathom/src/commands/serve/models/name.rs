//! Names of models on the wire, and who answers to which.
//!
//! A model answers to its own name and to its aliases. Beyond that the hosted API's names are given out, so that a program that
//! was set up for the hosted service works with what is served here: each such name belongs to the first released model of its
//! tier, else to the first model of its tier, else to the first model there is. Models whose aliases were said are left alone.

use fathom_serve::{Alias, Tier};

/// Longest name of a model.
const CHARS_MAX: usize = 128;

/// The hosted API's names: tier, and whether requests under them think when they do not say (`deepseek-api.md` §0, §2).
const HOSTED: [(&str, Tier, Option<bool>); 5] = [
    ("deepseek-v4-flash", Tier::Flash, None),
    ("deepseek-flash", Tier::Flash, None),
    ("deepseek-v4-pro", Tier::Pro, None),
    // Retired there, and still what many programs send.
    ("deepseek-chat", Tier::Flash, Some(false)),
    ("deepseek-reasoner", Tier::Flash, Some(true)),
];

/// A name that clients can type and logs can show.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    let fits = (1..=CHARS_MAX).contains(&text.chars().count());
    if fits && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "expected a name of 1 to {CHARS_MAX} characters without spaces"
    ))
}

/// What decides the names of a model.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    pub(crate) name: String,
    pub(crate) tier: Tier,
    /// One of the published checkpoints, not a model of somebody's own.
    pub(crate) released: bool,
    /// What was said; `None` leaves it to us.
    pub(crate) aliases: Option<Vec<String>>,
}

/// The other names of each model, in their order.
pub(crate) fn aliases(models: &[Naming]) -> Result<Vec<Vec<Alias>>, Vec<String>> {
    let mut problems = Vec::new();
    let mut taken: Vec<(&str, &str)> = Vec::new();
    let said = |model: &Naming| model.aliases.clone().unwrap_or_default();
    let names: Vec<_> = models.iter().map(said).collect();
    let own = models
        .iter()
        .map(|model| (model.name.as_str(), model.name.as_str()));
    let others = models.iter().zip(&names);
    let others =
        others.flat_map(|(model, names)| names.iter().map(|name| (name.as_str(), model.name.as_str())));
    for (name, model) in own.chain(others) {
        match taken.iter().find(|(other, _)| *other == name) {
            Some((_, other)) if *other == model && name == model => problems.push(format!(
                "two models are called {name}; give one of them another with NAME=DIR or name = \"…\""
            )),
            Some((_, other)) => {
                problems.push(format!(
                    "{name} is to be a name of both {other} and {model}; take it from one"
                ));
            }
            None => taken.push((name, model)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut aliases: Vec<Vec<_>> = names
        .clone()
        .into_iter()
        .map(|names| names.into_iter().map(Alias::new).collect())
        .collect();
    for (name, tier, thinking) in HOSTED {
        if taken.iter().any(|(other, _)| *other == name) {
            continue;
        }
        let rank = |model: &Naming| (model.tier != tier, model.tier == tier && !model.released);
        let ours = models
            .iter()
            .enumerate()
            .filter(|(_, model)| model.aliases.is_none());
        if let Some((i, _)) = ours.min_by_key(|(_, model)| rank(model)) {
            aliases[i].push(Alias {
                name: name.to_owned(),
                thinking,
            });
        }
    }
    Ok(aliases)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(name: &str, tier: Tier, released: bool, aliases: Option<&[&str]>) -> Naming {
        Naming {
            name: name.to_owned(),
            tier,
            released,
            aliases: aliases.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        }
    }

    fn names(models: &[Naming]) -> Vec<String> {
        let join = |aliases: &Vec<Alias>| {
            let names: Vec<_> = aliases.iter().map(|alias| alias.name.as_str()).collect();
            names.join(" ")
        };
        aliases(models).unwrap().iter().map(join).collect()
    }

    const FLASH: &str = "deepseek-v4-flash deepseek-flash deepseek-chat deepseek-reasoner";

    #[test]
    fn a_model_alone_answers_to_all_names() {
        let all = ["deepseek-v4-flash deepseek-flash deepseek-v4-pro deepseek-chat deepseek-reasoner"];
        assert_eq!(names(&[naming("small", Tier::Flash, false, None)]), all);
        assert_eq!(names(&[naming("pro", Tier::Pro, true, None)]), all);
        // Unless its operator says what it answers to.
        assert_eq!(names(&[naming("small", Tier::Flash, false, Some(&[]))]), [""]);
        assert_eq!(names(&[naming("small", Tier::Flash, false, Some(&["x"]))]), ["x"]);
    }

    #[test]
    fn several_share_them_by_tier() {
        let small = || naming("small", Tier::Flash, false, None);
        let flash = || naming("flash", Tier::Flash, true, None);
        let pro = || naming("pro", Tier::Pro, true, None);
        assert_eq!(names(&[small(), flash(), pro()]), ["", FLASH, "deepseek-v4-pro"]);
        // Nobody is of the tier: the first.
        assert_eq!(names(&[small(), flash()]), ["deepseek-v4-pro", FLASH]);
        assert_eq!(
            names(&[flash(), naming("deepseek-v4-pro", Tier::Flash, false, None)]),
            [FLASH, ""]
        );
        assert_eq!(
            names(&[naming("x", Tier::Pro, false, Some(&["deepseek-flash"])), flash()]),
            [
                "deepseek-flash",
                "deepseek-v4-flash deepseek-v4-pro deepseek-chat deepseek-reasoner"
            ]
        );
    }

    #[test]
    fn legacy_names_say_whether_they_think() {
        let aliases = aliases(&[naming("flash", Tier::Flash, true, None)])
            .unwrap()
            .remove(0);
        let thinking = |name: &str| {
            let alias = aliases.iter().find(|alias| alias.name == name);
            alias.unwrap().thinking
        };
        assert_eq!(thinking("deepseek-chat"), Some(false));
        assert_eq!(thinking("deepseek-reasoner"), Some(true));
        assert_eq!(thinking("deepseek-v4-flash"), None);
    }

    #[test]
    fn one_name_means_one_model() {
        let twice = [
            naming("a", Tier::Flash, true, None),
            naming("a", Tier::Pro, true, None),
        ];
        assert_eq!(
            aliases(&twice).unwrap_err(),
            ["two models are called a; give one of them another with NAME=DIR or name = \"…\""]
        );
        let both = [
            naming("a", Tier::Flash, true, Some(&["x", "b"])),
            naming("b", Tier::Pro, true, Some(&["x"])),
        ];
        assert_eq!(
            aliases(&both).unwrap_err(),
            [
                "b is to be a name of both b and a; take it from one",
                "x is to be a name of both a and b; take it from one"
            ]
        );
    }
}
