//! `anchord bedrock models`: lists foundation models and inference profiles.

use std::fmt::Write as _;

use clap::ArgMatches;
use serde_json::json;

use super::Ended;
use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::output;
use crate::cli::threads;
use anchord_aws::bedrock::FoundationModel;
use anchord_aws::bedrock::InferenceProfile;
use anchord_core::arn::Region;

pub(super) fn run(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Result<Exit, Ended> {
    let settings = super::settings(matches, surroundings)?;
    let region = super::region(matches, &settings, surroundings)?;
    let target = super::target(matches, &settings, region.clone(), "AWS_ENDPOINT_URL_BEDROCK", surroundings)?;
    let client = super::client(&settings, target, settings.upstream.read_timeout)?;
    let credentials = super::credentials(&settings, surroundings)?;

    let runtime = threads::runtime()?;
    let listed = runtime.block_on(async {
        let mut models = client.foundation_models(credentials.keys()).await?;
        models.sort_by(|one, other| one.model_id.cmp(&other.model_id));
        Ok::<_, Ended>((models, client.inference_profiles(credentials.keys()).await))
    });
    // A name lookup may still block a thread.
    runtime.shutdown_background();
    let (models, profiles) = listed?;
    // A role's policy may allow only one of the two lists.
    let (mut profiles, trouble) = match profiles {
        Ok(profiles) => (profiles, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    profiles.sort_by(|one, other| one.inference_profile_id.cmp(&other.inference_profile_id));

    let text = if matches.get_flag("json") {
        format!("{}\n", as_json(&region, &models, &profiles))
    } else {
        as_text(&region, &models, &profiles)
    };
    let printed = output::print(surroundings, &text);
    match trouble {
        Some(error) => Err(error.into()),
        None => Ok(printed),
    }
}

fn as_json(region: &Region, models: &[FoundationModel], profiles: &[InferenceProfile]) -> String {
    let model = |model: &FoundationModel| {
        json!({
            "id": model.model_id,
            "name": model.model_name,
            "provider": model.provider_name,
            "input": model.input_modalities,
            "output": model.output_modalities,
            "streaming": model.response_streaming_supported,
            "inference_types": model.inference_types_supported,
            "status": model.model_lifecycle.status,
        })
    };
    let profile = |profile: &InferenceProfile| {
        json!({
            "id": profile.inference_profile_id,
            "model_id": profile.model_id(),
            "arn": profile.inference_profile_arn,
            "name": profile.inference_profile_name,
            "type": profile.kind,
            "status": profile.status,
        })
    };
    let listed = json!({
        "region": region.as_str(),
        "foundation_models": models.iter().map(model).collect::<Vec<_>>(),
        "inference_profiles": profiles.iter().map(profile).collect::<Vec<_>>(),
    });
    format!("{listed:#}")
}

fn as_text(region: &Region, models: &[FoundationModel], profiles: &[InferenceProfile]) -> String {
    let yes_or_no = |is: bool| if is { "yes" } else { "no" };
    let models = models.iter().map(|model| {
        [
            model.model_id.clone(),
            model.provider_name.clone(),
            model.input_modalities.join(","),
            model.output_modalities.join(","),
            yes_or_no(model.response_streaming_supported).into(),
            model.inference_types_supported.join(","),
            model.model_lifecycle.status.clone(),
        ]
    });
    let profiles = profiles.iter().map(|profile| {
        [profile.model_id().to_owned(), profile.inference_profile_name.clone(), profile.status.clone()]
    });
    let heading = ["MODEL", "PROVIDER", "INPUT", "OUTPUT", "STREAMING", "INFERENCE", "STATUS"];
    let models = table(heading, models.collect());
    let profiles = table(["INFERENCE PROFILE", "NAME", "STATUS"], profiles.collect());
    format!("Region {region}\n\n{models}\n{profiles}")
}

/// A table with columns as wide as their longest cell.
fn table<const N: usize>(heading: [&str; N], rows: Vec<[String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(heading.map(str::to_owned))
        .chain(rows)
        .map(|row| row.map(|cell| plain(&cell)))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing into a String cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A cell without control characters: names are free text, and some would move a terminal's cursor.
fn plain(cell: &str) -> String {
    match cell {
        "" => "-".into(),
        cell => cell.chars().map(|character| if character.is_control() { '?' } else { character }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_they_hold() {
        let rows = vec![["a".into(), "ACTIVE".into()], ["longer\u{1b}".into(), String::new()]];

        assert_eq!(table(["ID", "STATUS"], rows), "ID       STATUS\na        ACTIVE\nlonger?  -\n");
    }
}
