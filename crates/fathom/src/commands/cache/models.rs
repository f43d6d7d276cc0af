//! Naming models.

use anyhow::bail;
use fathom_cache::disk::{Survey, SurveyedModel};

use super::{hex, short};

/// Which model's records are meant.
#[derive(clap::Args)]
pub(super) struct ModelChoice {
    /// Only this model: its name, or the beginning of its identity
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
}

impl ModelChoice {
    /// The model that was chosen, if one was. A name that fits none or several is an error.
    pub(super) fn find<'a>(&self, survey: &'a Survey) -> anyhow::Result<Option<&'a SurveyedModel>> {
        let Some(name) = &self.identity else {
            return Ok(None);
        };
        let fits = |model: &&SurveyedModel| model.label == *name || hex(&model.identity).starts_with(name);
        let chosen: Vec<&SurveyedModel> = survey.models.iter().filter(fits).collect();
        match chosen[..] {
            [model] => Ok(Some(model)),
            [] => {
                let all: Vec<String> = survey.models.iter().map(title).collect();
                let all = if all.is_empty() {
                    "none".to_owned()
                } else {
                    all.join(", ")
                };
                bail!("no model in the cache is called {name:?}; there are: {all}")
            }
            _ => {
                let identities: Vec<String> = chosen.iter().map(|model| short(&model.identity)).collect();
                bail!(
                    "{name:?} fits several models; say which by identity: {}",
                    identities.join(", ")
                )
            }
        }
    }

    /// The models whose records are meant.
    pub(super) fn select<'a>(&self, survey: &'a Survey) -> anyhow::Result<Vec<&'a SurveyedModel>> {
        Ok(match self.find(survey)? {
            Some(model) => vec![model],
            None => survey.models.iter().collect(),
        })
    }
}

/// A model's name and the beginning of its identity.
pub(super) fn title(model: &SurveyedModel) -> String {
    if model.label.is_empty() {
        short(&model.identity)
    } else {
        format!("{} ({})", model.label, short(&model.identity))
    }
}
