//! UpdateFeatures (57): finalize a level of a feature. Only `metadata.version` is served.
//!
//! Version notes: version 0 says "allow downgrade", later ones name the kind of upgrade; version 2 has no
//! per-feature results.

use super::{Acl, Answer, Api, OnController, ResponseOf, ViewContext, outcome};
use cluster::controller::{Command, FeatureUpdate, Reply};
use wire::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

pub(super) struct UpdateFeatures;

/// Kinds of updates: a lower level that loses nothing, and one that may.
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

impl Api for UpdateFeatures {
    type Request = UpdateFeaturesRequest;
    const ACL: Acl = Acl::AlterCluster;

    fn upgrade(version: i16, request: &mut UpdateFeaturesRequest) {
        for update in
            request.feature_updates.iter_mut().filter(|update| version == 0 && update.allow_downgrade)
        {
            update.upgrade_type = SAFE_DOWNGRADE;
        }
    }

    fn downgrade(version: i16, response: &mut UpdateFeaturesResponse) {
        if version >= 2 {
            response.results.clear();
        }
    }
}

impl OnController for UpdateFeatures {
    fn ask(request: UpdateFeaturesRequest) -> Answer<ResponseOf<Self>> {
        let update = |update: &FeatureUpdateKey| FeatureUpdate {
            name: update.feature.as_str().to_owned(),
            level: update.max_version_level,
            may_fall: matches!(update.upgrade_type, SAFE_DOWNGRADE | UNSAFE_DOWNGRADE),
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
