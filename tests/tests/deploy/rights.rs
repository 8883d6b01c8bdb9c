//! What the roles of the deployed template may do, one action on one resource at a time, and how to take one away.

use serde_json::{Value, json};

use crate::cloud::Cloud;

/// Actions that no request of ours makes: AWS's agents write logs and traces, its scheduler runs the sweeper.
const OTHERS: [&str; 3] = ["logs:", "xray:", "lambda:"];

/// One thing that somebody may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// The role or the policy, as the template calls it.
    pub owner: String,
    /// The statement.
    pub sid: String,
    /// The action.
    pub action: String,
    /// On what.
    pub resource: String,
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let resource = self.resource.rsplit(':').next().unwrap_or_default();
        write!(
            f,
            "{} {} {} on {resource}",
            self.owner, self.sid, self.action
        )
    }
}

/// A policy as it is deployed.
#[derive(Clone)]
pub struct Policy {
    owner: String,
    place: Place,
    /// Its document, whole.
    document: Value,
}

#[derive(Clone)]
enum Place {
    /// In a role, under a name.
    Inline { role: String, name: String },
    /// By itself.
    Managed { arn: String },
}

/// All policies of the stack.
pub async fn read(cloud: &mut Cloud) -> Vec<Policy> {
    let mut policies = Vec::new();
    for owner in cloud.of_type("AWS::IAM::Role") {
        let role = cloud.id(&owner).to_owned();
        let listed = cloud
            .ask("iam", "list_role_policies", json!({"RoleName": role}))
            .await;
        for name in listed["PolicyNames"].as_array().expect("names") {
            let which = json!({"RoleName": role, "PolicyName": name});
            let policy = cloud.ask("iam", "get_role_policy", which).await;
            policies.push(Policy {
                owner: owner.clone(),
                place: Place::Inline {
                    role: role.clone(),
                    name: name.as_str().expect("a name").to_owned(),
                },
                document: policy["PolicyDocument"].clone(),
            });
        }
    }
    for owner in cloud.of_type("AWS::IAM::ManagedPolicy") {
        let arn = cloud.id(&owner).to_owned();
        let policy = cloud
            .ask("iam", "get_policy", json!({"PolicyArn": arn}))
            .await;
        let which = json!({"PolicyArn": arn, "VersionId": policy["Policy"]["DefaultVersionId"]});
        let version = cloud.ask("iam", "get_policy_version", which).await;
        policies.push(Policy {
            owner,
            place: Place::Managed { arn },
            document: version["PolicyVersion"]["Document"].clone(),
        });
    }
    policies
}

fn many(value: &Value) -> Vec<String> {
    let one = std::slice::from_ref(value);
    let all = value.as_array().map_or(one, Vec::as_slice);
    all.iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

impl Policy {
    /// How many statements it has.
    pub fn statements(&self) -> usize {
        self.document["Statement"].as_array().map_or(0, Vec::len)
    }

    /// What it allows that requests of ours make.
    pub fn rights(&self) -> Vec<Right> {
        let mut rights = Vec::new();
        for statement in self.document["Statement"].as_array().expect("statements") {
            for action in many(&statement["Action"]) {
                // What the cloud of this machine calls a part of sqs:DeleteMessage.
                let part = action.ends_with("MessageBatch");
                if part || OTHERS.iter().any(|other| action.starts_with(other)) {
                    continue;
                }
                for resource in many(&statement["Resource"]) {
                    rights.push(Right {
                        owner: self.owner.clone(),
                        sid: statement["Sid"].as_str().unwrap_or_default().to_owned(),
                        action: action.clone(),
                        resource,
                    });
                }
            }
        }
        rights
    }

    /// The same without these rights: a statement of one action and one resource each for all others.
    pub fn without(&self, taken: &[Right]) -> Self {
        // No policy is empty. This is beside the point everywhere.
        let mut statements =
            vec![json!({"Effect": "Allow", "Action": "xray:PutTraceSegments", "Resource": "*"})];
        for statement in self.document["Statement"].as_array().expect("statements") {
            let sid = statement["Sid"].as_str().unwrap_or_default();
            for action in many(&statement["Action"]) {
                for resource in many(&statement["Resource"]) {
                    let is_taken = taken.iter().any(|right| {
                        let same =
                            action == right.action || action == format!("{}Batch", right.action);
                        same && right.sid == sid && right.resource == resource
                    });
                    if !is_taken {
                        let mut kept = statement.clone();
                        kept["Sid"] = json!(format!("{sid}{}", statements.len()));
                        kept["Action"] = json!(action);
                        kept["Resource"] = json!(resource);
                        statements.push(kept);
                    }
                }
            }
        }
        let mut without = self.clone();
        without.document["Statement"] = json!(statements);
        without
    }

    /// Puts it in force.
    pub async fn put(&self, cloud: &mut Cloud) {
        let document = self.document.to_string();
        match &self.place {
            Place::Inline { role, name } => {
                let policy =
                    json!({"RoleName": role, "PolicyName": name, "PolicyDocument": document});
                cloud.ask("iam", "put_role_policy", policy).await;
            }
            Place::Managed { arn } => {
                // A policy has five versions at most.
                let all = cloud
                    .ask("iam", "list_policy_versions", json!({"PolicyArn": arn}))
                    .await;
                for version in all["Versions"].as_array().expect("versions") {
                    if version["IsDefaultVersion"] == false {
                        let which = json!({"PolicyArn": arn, "VersionId": version["VersionId"]});
                        cloud.ask("iam", "delete_policy_version", which).await;
                    }
                }
                let version =
                    json!({"PolicyArn": arn, "PolicyDocument": document, "SetAsDefault": true});
                cloud.ask("iam", "create_policy_version", version).await;
            }
        }
    }
}
