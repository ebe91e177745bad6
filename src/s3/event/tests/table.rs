//! Tests of the effect of each event name that a sender is known to use.

use super::super::Change::{self, Created, Described, Nothing, Removed};
use super::{message, read, record};

const GONE: Change = Removed { marker: false };
const MARKED: Change = Removed { marker: true };

const NAMES: [(Change, &[&str]); 5] = [
    (
        Created,
        &[
            "ObjectCreated:Put",
            "ObjectCreated:Post",
            "ObjectCreated:Copy",
            "ObjectCreated:CompleteMultipartUpload",
            "ObjectCreated:SomethingNew",
            "ObjectSynced:Create",
            "Replication:Create",
            "ObjectNewKindOfEvent",
            "ObjectRestore:SomethingNew",
        ],
    ),
    (
        GONE,
        &[
            "ObjectRemoved:Delete",
            "ObjectRemoved:NoOP",
            "ObjectRemoved:DeleteAllVersions",
            "LifecycleExpiration:Delete",
            "LifecycleDelMarkerExpiration:Delete",
            "ReducedRedundancyLostObject",
            "ObjectRestore:Delete",
            "ObjectLifecycle:Expiration:Current",
            "ObjectLifecycle:Expiration:Noncurrent",
            "ObjectLifecycle:Expiration:DeleteMarker",
            "ObjectLifecycle:Expiration:AbortMPU",
            "ObjectSynced:Delete",
            "Replication:Delete",
        ],
    ),
    (
        MARKED,
        &[
            "ObjectRemoved:DeleteMarkerCreated",
            "LifecycleExpiration:DeleteMarkerCreated",
            "ObjectSynced:DeletionMarkerCreated",
            "Replication:DeletionMarkerCreated",
        ],
    ),
    (
        Described,
        &[
            "ObjectRestore:Post",
            "ObjectRestore:Completed",
            "LifecycleTransition",
            "IntelligentTiering",
            "ObjectTagging:Put",
            "ObjectTagging:Delete",
            "ObjectAcl:Put",
            "ObjectTransition:Complete",
            "ObjectLifecycle:Transition:Current",
            "ObjectCreated:PutTagging",
            "ObjectCreated:DeleteTagging",
            "ObjectCreated:PutRetention",
            "ObjectCreated:PutLegalHold",
        ],
    ),
    (
        Nothing,
        &[
            "ObjectAccessed:Get",
            "ObjectAccessed:Head",
            "ObjectAccessed:Attributes",
            "Replication:OperationFailedReplication",
            "Replication:OperationMissedThreshold",
            "Replication:OperationReplicatedAfterThreshold",
            "Replication:OperationNotTracked",
            "TestEvent",
            "BucketRemoved:*",
            "Scanner:ManyVersions",
            "SomethingElse",
        ],
    ),
];

#[test]
fn each_event_means_what_the_table_says_with_and_without_s3_in_front() {
    for (change, names) in NAMES {
        for name in names {
            for sent in [(*name).to_owned(), format!("s3:{name}")] {
                let [event] = &read(&message(&[record("aws:s3", &sent, "k")])).events[..] else {
                    panic!("{sent} is one event")
                };
                assert_eq!((event.change, &*event.name), (change, *name), "{sent}");
            }
        }
    }
}

#[test]
fn each_event_of_eventbridge_means_what_the_table_says() {
    for (detail_type, change) in [
        ("Object Created", Created),
        ("Object Deleted", GONE),
        ("Object Restore Initiated", Described),
        ("Object Restore Completed", Described),
        ("Object Restore Expired", GONE),
        ("Object Tags Added", Described),
        ("Object Tags Deleted", Described),
        ("Object ACL Updated", Described),
        ("Object Storage Class Changed", Described),
        ("Object Access Tier Changed", Described),
        ("Async Copy Completion", Created),
        ("Object Something New", Created),
        ("Something Else", Nothing),
    ] {
        let json = format!(
            r#"{{"detail-type":"{detail_type}","source":"aws.s3",
                "detail":{{"bucket":{{"name":"photos"}},"object":{{"key":"k"}}}}}}"#
        );
        let [event] = &read(&json).events[..] else { panic!("{detail_type} is one event") };
        assert_eq!(event.change, change, "{detail_type}");
    }
}

#[test]
fn each_action_of_r2_and_each_event_of_gcs_means_what_the_table_says() {
    for (action, change) in [
        ("PutObject", Created),
        ("CopyObject", Created),
        ("CompleteMultipartUpload", Created),
        ("DeleteObject", GONE),
        ("LifecycleDeletion", GONE),
        ("SomethingNew", Created),
    ] {
        let json = format!(r#"{{"action":"{action}","bucket":"photos","object":{{"key":"k"}}}}"#);
        assert_eq!(read(&json).events[0].change, change, "{action}");
    }
    for (kind, change) in [
        ("OBJECT_FINALIZE", Created),
        ("OBJECT_METADATA_UPDATE", Described),
        ("OBJECT_DELETE", GONE),
        ("OBJECT_ARCHIVE", MARKED),
        ("SOMETHING_NEW", Created),
    ] {
        let attributes = format!(r#"{{"eventType":"{kind}","bucketId":"photos","objectId":"k"}}"#);
        let json = format!(r#"{{"message":{{"attributes":{attributes}}}}}"#);
        assert_eq!(read(&json).events[0].change, change, "{kind}");
    }
}
