use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use fathom_checkpoint::Checkpoint;
use fathom_engine::{Engine, EngineOptions};

use super::*;
use crate::app::App;
use crate::catalog::ServedModel;
use crate::network::Network;
use crate::options::Options;

/// The paths of the router, which it tells only those who debug it.
fn routes() -> BTreeSet<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fathom/default-model");
    let engine = Engine::load(Checkpoint::open(&dir).unwrap(), &EngineOptions::default()).unwrap();
    let options = Options::new(vec![ServedModel::new(engine, "m")]);
    let app = Arc::new(App::new(options, &Network::default()));
    let told = format!("{:?}", crate::routes::router(&app));
    let paths = told
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| text.starts_with('/'));
    let paths = paths.filter(|path| !path.contains("__private"));
    paths.map(str::to_owned).collect()
}

#[tokio::test]
async fn every_path_is_described_and_no_other() {
    let described: BTreeSet<_> = DOCUMENT["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(routes(), described);
}

#[test]
fn ids_are_unique_and_every_reference_leads_somewhere() {
    let mut ids = BTreeSet::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{path}");
        }
    }
    let text = DOCUMENT.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(DOCUMENT.pointer(pointer).is_some(), "{pointer}");
    }
}
