//! The published figures of spec §1, §3, §7.2 and §8, from the configurations of §2 alone.

use fathom_checkpoint::budget::{
    Flops, KvBytes, RowBytes, Weighting, decode_cache_bytes, kv_bytes_per_token, pending_bytes,
};
use fathom_checkpoint::{
    Attention, Census, Config, Demand, Draft, Group, Plan, Routing, Storage, announced_draft,
};

const MILLION: u64 = 1 << 20;

fn config(name: &str) -> Config {
    let path = format!("{}/tests/configs/{name}.json", env!("CARGO_MANIFEST_DIR"));
    Config::from_json(&std::fs::read(path).unwrap()).unwrap()
}

fn census(name: &str) -> Census {
    let config = config(name);
    Census::of(&config, announced_draft(&config), Storage::OFFICIAL)
}

#[test]
fn tensor_and_byte_counts_are_the_published_ones() {
    for (name, tensors, bytes) in [
        ("flash", 69_187, 159_609_485_896),
        ("pro", 145_116, 864_704_792_696),
        ("flash-0731", 72_317, 166_878_536_440),
        ("pro-0813", 149_782, 892_727_580_904),
    ] {
        let total = census(name).total();
        assert_eq!((total.tensors, total.bytes), (tensors, bytes), "{name}");
    }
}

#[test]
fn draft_modules_have_the_published_number_of_tensors() {
    for (name, draft, tensors) in [
        ("flash", Draft::Mtp { blocks: 1 }, 1575),
        ("pro", Draft::Mtp { blocks: 1 }, 2343),
        ("flash-0731", Draft::Dspark { stages: 3 }, 1568 + 1565 + 1572),
    ] {
        assert_eq!(announced_draft(&config(name)), draft, "{name}");
        assert_eq!(census(name).group(Group::Draft).tensors, tensors, "{name}");
    }
}

#[test]
fn layer_schedules_are_those_of_section_3() {
    for (name, window, sparse, heavy) in [("flash", 2, 21, 20), ("pro", 0, 30, 31)] {
        let config = config(name);
        let count = |attention| {
            config
                .layers
                .iter()
                .filter(|layer| layer.attention == attention)
                .count()
        };
        assert_eq!(count(Attention::Window), window, "{name}");
        assert_eq!(count(Attention::Sparse { ratio: 4 }), sparse, "{name}");
        assert_eq!(count(Attention::Heavy { ratio: 128 }), heavy, "{name}");
        // The last layer is sparse; the trailing 0 of compress_ratios is the MTP block's.
        assert_eq!(
            config.layers.last().unwrap().attention,
            Attention::Sparse { ratio: 4 },
            "{name}"
        );
        let hash: Vec<_> = (0..config.layers.len())
            .filter(|&i| config.layers[i].routing == Routing::Hash)
            .collect();
        assert_eq!(hash, [0, 1, 2], "{name}");
    }
}

#[test]
fn parameter_counts_are_those_of_section_8() {
    let flash = census("flash");
    assert_eq!(flash.backbone().parameters, 284_332_240_471);
    assert_eq!(billions(flash.active_parameters()), "13.80");
    assert_eq!(billions(flash.active_parameters_without_embedding()), "13.27");
    let pro = census("pro");
    assert_eq!(billions(pro.backbone().parameters), "1573.00");
    assert_eq!(billions(pro.group(Group::Draft).parameters), "25.84");
    assert_eq!(billions(pro.active_parameters()), "49.78");
    assert_eq!(billions(pro.active_parameters_without_embedding()), "48.85");
}

#[test]
fn kv_bytes_are_those_of_section_7() {
    for (name, per_token, sparse, heavy, window, total) in [
        (
            "flash",
            3514.25,
            3_589_275_648,
            95_682_560,
            3_214_336,
            3_688_172_544,
        ),
        (
            "pro",
            5031.4375,
            5_127_536_640,
            148_307_968,
            4_559_872,
            5_280_404_480,
        ),
    ] {
        let config = config(name);
        let rows = RowBytes::packed(&config);
        assert_eq!(
            rows,
            RowBytes {
                kv: 584,
                index_key: 68
            }
        );
        assert_eq!(kv_bytes_per_token(&config, rows), per_token, "{name}");
        let at_a_million = KvBytes::at(&config, rows, MILLION);
        assert_eq!(
            at_a_million,
            KvBytes {
                sparse,
                heavy,
                window
            },
            "{name}"
        );
        assert_eq!(at_a_million.total(), total, "{name}");
    }
}

#[test]
fn bf16_kv_matches_the_size_vllm_publishes() {
    let config = config("pro");
    let bytes = KvBytes::at(&config, RowBytes::bf16(&config), MILLION).total();
    assert_eq!(format!("{:.2}", bytes as f64 / (1_u64 << 30) as f64), "9.62");
    assert_eq!(
        RowBytes::float32(&config),
        RowBytes {
            kv: 2048,
            index_key: 512
        }
    );
}

#[test]
fn pending_state_is_that_of_section_6() {
    assert_eq!(pending_bytes(&config("flash")), 12_206_080);
    assert_eq!(pending_bytes(&config("pro")), 18_710_528);
}

#[test]
fn flops_relative_to_v32_are_those_of_section_8() {
    // The published ratios use the published active parameters, 13 B and 49 B.
    for (name, active, depth, giga, percent) in [
        ("flash", 13e9, MILLION, "118.3", "9.9"),
        ("pro", 49e9, MILLION, "315.8", "26.5"),
        ("flash", 13e9, 1_000_000, "114.2", "10.0"),
        ("pro", 49e9, 1_000_000, "306.6", "26.8"),
    ] {
        let weighting = Weighting::FP8_EQUIVALENT;
        let flops = Flops::at(&config(name), active, depth).total(weighting);
        assert_eq!(format!("{:.1}", flops / 1e9), giga, "{name} at {depth}");
        let share = 100.0 * flops / Flops::of_v32(depth, weighting);
        assert_eq!(format!("{share:.1}"), percent, "{name} at {depth}");
    }
    for (depth, giga) in [(MILLION, "1191.6"), (1_000_000, "1143.0")] {
        let flops = Flops::of_v32(depth, Weighting::FP8_EQUIVALENT);
        assert_eq!(format!("{:.1}", flops / 1e9), giga, "V3.2 at {depth}");
    }
}

#[test]
fn unweighted_flops_have_the_published_components() {
    for (name, active, components, percent) in [
        ("flash", 13e9, ["26.0", "90.2", "1.8", "21.8"], "12.1"),
        ("pro", 49e9, ["98.0", "128.8", "9.1", "67.6"], "26.2"),
    ] {
        let flops = Flops::at(&config(name), active, MILLION);
        let found =
            [flops.linear, flops.indexer, flops.sparse, flops.heavy].map(|part| format!("{:.1}", part / 1e9));
        assert_eq!(found, components, "{name}");
        let share = 100.0 * flops.total(Weighting::PLAIN) / Flops::of_v32(MILLION, Weighting::PLAIN);
        assert_eq!(format!("{share:.1}"), percent, "{name}");
    }
}

#[test]
fn one_flash_token_touches_eleven_gigabytes() {
    let config = config("flash");
    let bytes = census("flash").decode_weight_bytes(&config);
    // 3.45 GB of routed experts, 1.06 GB of head, and 6.7 GB that every token needs.
    assert_eq!(billions(bytes), "11.22");
    let experts = census("flash").group(Group::RoutedExperts).bytes * 6 / 256;
    assert_eq!(billions(experts), "3.45");
    assert_eq!(billions(census("flash").group(Group::Head).bytes), "1.06");
    // An empty cache still has the token's own window row in every layer.
    assert_eq!(
        decode_cache_bytes(&config, RowBytes::packed(&config), 0),
        43 * 584
    );
}

#[test]
fn a_plan_adds_up() {
    for (name, share, sessions) in [("flash", "9.9", 2), ("pro", "26.5", 1)] {
        let config = config(name);
        let rows = RowBytes::packed(&config);
        let demand = Demand {
            context: MILLION,
            sessions,
            chunk: 512,
            rows,
        };
        let plan = Plan::new(&config, &census(name), demand);
        assert_eq!(format!("{:.1}", 100.0 * plan.v32_share.unwrap()), share, "{name}");
        assert_eq!(plan.memory.weights, plan.total.bytes);
        let state = plan.kv.total() + plan.pending_bytes;
        assert_eq!(plan.memory.sessions, sessions * state, "{name}");
        assert_eq!(
            plan.memory.total(),
            plan.total.bytes + sessions * state + plan.memory.workspace
        );
        assert_eq!(plan.at_start.weight_bytes, plan.at_context.weight_bytes);
        // At a million tokens every indexer key is read: 68 bytes each, one per 4 tokens and sparse layer.
        assert!(plan.at_context.cache_bytes > plan.kv_bytes_per_token as u64 * MILLION / 10);
        let seconds_per_token = plan.at_context.bytes() as f64 / 50e9;
        assert!((plan.at_context.tokens_per_second(50e9) * seconds_per_token - 1.0).abs() < 1e-12);
    }
}

fn billions(count: u64) -> String {
    format!("{:.2}", count as f64 / 1e9)
}
