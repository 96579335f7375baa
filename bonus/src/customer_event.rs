//! PURE: what customers gain and lose, as others are told. `contract/` has an example of each event.

use chrono::{DateTime, Utc};
use engine::aggregate::Recorded;
use engine::journal::OutboxEvent;
use serde::Serialize;
use uuid::Uuid;

use crate::policy::Grade;
use crate::standing::StandingChange;

/// A change of a customer's standing, by a version of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CustomerEvent {
    pub policy: i16,
    pub data: CustomerEventData,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CustomerEventData {
    /// `points`: all that the customer has, after the change.
    GradeAttained {
        grade: Grade,
        points: i64,
    },
    GradeLost {
        grade: Grade,
        points: i64,
    },
    /// `vip_until`: if nothing more happens.
    VipAcquired {
        vip_until: DateTime<Utc>,
    },
    VipLost,
}

impl CustomerEventData {
    /// What is told of a change of an account that has `points` now. `None` if it is VIP and nobody knows until when: no account is.
    pub fn of(change: StandingChange, points: i64, vip_until: Option<DateTime<Utc>>) -> Option<Self> {
        Some(match change {
            StandingChange::GradeAttained(grade) => Self::GradeAttained { grade, points },
            StandingChange::GradeLost(grade) => Self::GradeLost { grade, points },
            StandingChange::VipAcquired => Self::VipAcquired { vip_until: vip_until? },
            StandingChange::VipLost => Self::VipLost,
        })
    }
}

/// One flat object. What an event does not have is left out.
#[derive(Serialize)]
struct Wire {
    event_id: Uuid,
    event_type: &'static str,
    customer_id: Uuid,
    version: i64,
    occurred_at: DateTime<Utc>,
    policy: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    grade: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    points: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vip_until: Option<DateTime<Utc>>,
}

impl OutboxEvent for CustomerEvent {
    fn event_type(&self) -> &'static str {
        match self.data {
            CustomerEventData::GradeAttained { .. } => "GradeAttained",
            CustomerEventData::GradeLost { .. } => "GradeLost",
            CustomerEventData::VipAcquired { .. } => "VipAcquired",
            CustomerEventData::VipLost => "VipLost",
        }
    }

    fn encode(event: &Recorded<Self>) -> Result<String, serde_json::Error> {
        let (grade, points, vip_until) = match event.data.data {
            CustomerEventData::GradeAttained { grade, points }
            | CustomerEventData::GradeLost { grade, points } => (Some(grade.name()), Some(points), None),
            CustomerEventData::VipAcquired { vip_until } => (None, None, Some(vip_until)),
            CustomerEventData::VipLost => (None, None, None),
        };
        serde_json::to_string(&Wire {
            event_id: event.event_id,
            event_type: event.data.event_type(),
            customer_id: event.aggregate_id.0,
            version: event.version,
            occurred_at: event.occurred_at,
            policy: event.data.policy,
            grade,
            points,
            vip_until,
        })
    }
}

#[cfg(test)]
mod tests {
    use engine::aggregate::AggregateId;
    use serde_json::Value;

    use super::*;

    /// The file of the contract, and the event as this service writes it.
    fn compare(name: &str, data: CustomerEventData) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../contract");
        let golden = std::fs::read_to_string(format!("{folder}/{name}.v1.json")).unwrap();
        let golden: Value = serde_json::from_str(&golden).unwrap();
        let id = |field: &str| -> Uuid { golden[field].as_str().unwrap().parse().unwrap() };
        let event = Recorded {
            event_id: id("event_id"),
            aggregate_id: AggregateId(id("customer_id")),
            version: golden["version"].as_i64().unwrap(),
            occurred_at: golden["occurred_at"].as_str().unwrap().parse().unwrap(),
            data: CustomerEvent { policy: 1, data },
        };
        assert_eq!(event.data.event_type(), name);
        let written: Value = serde_json::from_str(&CustomerEvent::encode(&event).unwrap()).unwrap();
        assert_eq!(written, golden, "{name}");
    }

    #[test]
    fn events_are_written_as_the_contract_has_them() {
        let grade = Grade::Silver;
        let vip_until = "2026-02-04T09:30:00.123456Z".parse().unwrap();
        compare("GradeAttained", CustomerEventData::GradeAttained { grade, points: 140 });
        compare("GradeLost", CustomerEventData::GradeLost { grade, points: 40 });
        compare("VipAcquired", CustomerEventData::VipAcquired { vip_until });
        compare("VipLost", CustomerEventData::VipLost);
    }
}
