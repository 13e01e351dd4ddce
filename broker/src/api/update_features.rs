//! UpdateFeatures (57): finalize a level of a feature. No feature has a level that could be lowered to, so that the
//! kind of update (in version 0: "allow downgrade") makes no difference.
//!
//! Version notes: version 2 has no per-feature results.

use super::{Acl, Answer, Api, OnController, ResponseOf, ViewContext, outcome};
use cluster::controller::{Command, FeatureUpdate, Reply};
use core::ops::RangeInclusive;
use wire::ErrorCode;
use wire::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

pub(super) struct UpdateFeatures;

/// An upgrade, a downgrade that loses nothing, and one that may.
const KINDS: RangeInclusive<i8> = 1..=3;

impl Api for UpdateFeatures {
    type Request = UpdateFeaturesRequest;
    const ACL: Acl = Acl::AlterCluster;

    fn downgrade(version: i16, response: &mut UpdateFeaturesResponse) {
        if version >= 2 {
            response.results.clear();
        }
    }
}

impl OnController for UpdateFeatures {
    fn ask(request: UpdateFeaturesRequest) -> Answer<ResponseOf<Self>> {
        let kinds = request.feature_updates.iter().map(|update| update.upgrade_type);
        if let Some(unknown) = kinds.into_iter().find(|kind| !KINDS.contains(kind)) {
            return Answer::Reply(UpdateFeaturesResponse {
                error_code: ErrorCode::InvalidUpdateVersion as i16,
                error_message: Some(format!("There is no kind of update {unknown}.").into()),
                ..UpdateFeaturesResponse::default()
            });
        }
        let update = |update: &FeatureUpdateKey| FeatureUpdate {
            name: update.feature.as_str().to_owned(),
            level: update.max_version_level,
        };
        Answer::Ask(Command::UpdateFeatures {
            updates: request.feature_updates.iter().map(update).collect(),
            validate_only: request.validate_only,
        })
    }

    fn answer(_cx: &ViewContext<'_>, request: UpdateFeaturesRequest, reply: Reply) -> UpdateFeaturesResponse {
        let Reply::Done(done) = reply else { return UpdateFeaturesResponse::default() };
        let (error_code, error_message) = outcome(&done);
        let result = |feature| UpdatableFeatureResult { feature, ..UpdatableFeatureResult::default() };
        let mut results = Vec::new();
        if done.is_ok() {
            results.extend(request.feature_updates.into_iter().map(|update| result(update.feature)));
        }
        UpdateFeaturesResponse { error_code, error_message, results, ..UpdateFeaturesResponse::default() }
    }
}
