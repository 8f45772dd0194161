//! Environment values in a plugin's config: the plugin gets exactly the value of the variable.

use anyhow::{Context as _, Result};
use spandrel_tests::artifacts;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;

/// Values of variables that YAML would turn into something else.
const HELD: [&str; 14] = [
    "1.10",
    "12345e7",
    "4711",
    "007",
    "a #b",
    "# all",
    "k: v",
    "[a, b]",
    "{ x: y }",
    "true",
    "null",
    " spaced ",
    "\"quoted\"",
    "- dash",
];

/// In quotes, a variable is text in the plugin for any value: as the value of a key, in the middle
/// of one, and in a list.
#[tokio::test]
async fn a_quoted_variable_is_text() -> Result<()> {
    let backend = Backend::start().await?;
    backend.keep();
    let mut row = String::new();
    for index in 0..HELD.len() {
        row.push_str(&format!(
            "alone.{index}: \"${{env:HELD_{index}}}\", within.{index}: '<${{HELD_{index}}}>', "
        ));
    }
    let routes: Vec<String> = (0..HELD.len())
        .map(|index| format!("\"${{env:HELD_{index}}}\""))
        .collect();
    let config = Config::new(backend.endpoint())
        .stage(
            "tag",
            &artifacts::plugin("tag-by-service")?,
            &format!("config: {{ default: {{ {row} }} }}"),
        )
        .stage(
            "drop",
            &artifacts::plugin("drop-health-checks")?,
            &format!("config: {{ routes: [{}] }}", routes.join(", ")),
        );
    let mut setup = Setup::new(&config.yaml())?;
    for (index, held) in HELD.iter().enumerate() {
        setup = setup.env(&format!("HELD_{index}"), *held);
    }
    let collector = Collector::start(&setup).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    client.send(Shop::new(71).request(3)).await?;
    collector.stop().await?.expect_code(0)?;
    let taken = backend.taken();
    let attributes = taken
        .traces
        .first()
        .and_then(|resource| resource.resource.as_ref())
        .map(|resource| &resource.attributes)
        .context("no resource")?;
    for (index, held) in HELD.iter().enumerate() {
        for (key, expected) in [
            (format!("alone.{index}"), (*held).to_owned()),
            (format!("within.{index}"), format!("<{held}>")),
        ] {
            let value = attributes.iter().find(|attribute| attribute.key == key);
            let value = value.and_then(|attribute| attribute.value.clone());
            let text = value.and_then(|value| value.value);
            let expected =
                opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(expected);
            assert_eq!(text, Some(expected), "{key} of {held:?}");
        }
    }
    Ok(())
}
