//! UpdateFeatures (57): finalize a level of a feature. Only `metadata.version` is served.
//!
//! Version notes: version 0 says "allow downgrade", later ones name the kind of upgrade; version 2 has no
//! per-feature results.

use super::{Acl, Answer, Api, OnController, ResponseOf, ViewContext, outcome};
use cluster::controller::{Command, Reply};
use wire::update_features::{UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse};

pub(super) struct UpdateFeatures;

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
        if request.validate_only {
            return Answer::Reply(UpdateFeaturesResponse::default());
        }
        let updates =
            request.feature_updates.iter().map(|u| (u.feature.as_str().to_owned(), u.max_version_level));
        Answer::Ask(Command::UpdateFeatures { updates: updates.collect() })
    }

    fn answer(_cx: &ViewContext<'_>, request: UpdateFeaturesRequest, reply: Reply) -> UpdateFeaturesResponse {
        let Reply::Done(done) = reply else { return UpdateFeaturesResponse::default() };
        let (error_code, error_message) = outcome(&done);
        let result = |feature| UpdatableFeatureResult { feature, ..UpdatableFeatureResult::default() };
        let results = request.feature_updates.into_iter().map(|update| result(update.feature)).collect();
        UpdateFeaturesResponse { error_code, error_message, results, ..UpdateFeaturesResponse::default() }
    }
}
