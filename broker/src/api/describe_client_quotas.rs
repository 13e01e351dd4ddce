//! DescribeClientQuotas (48): Kafka's tools ask whenever they describe a client or user. None can be set yet.

use super::{Acl, Answer, Api, OnView, ViewContext};
use wire::describe_client_quotas::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

pub(super) struct DescribeClientQuotas;

impl Api for DescribeClientQuotas {
    type Request = DescribeClientQuotasRequest;
    const ACL: Acl = Acl::DescribeConfigs;
}

impl OnView for DescribeClientQuotas {
    fn handle(
        _cx: &ViewContext<'_>,
        _request: DescribeClientQuotasRequest,
    ) -> Answer<DescribeClientQuotasResponse> {
        let entries = Some(Vec::new());
        Answer::Reply(DescribeClientQuotasResponse { entries, ..DescribeClientQuotasResponse::default() })
    }
}
