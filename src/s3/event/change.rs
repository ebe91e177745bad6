//! Effect of an event on cached objects, by event name.

use super::notification::Change::{self, Created, Described, Nothing};

const GONE: Change = Change::Removed { marker: false };
const MARKED: Change = Change::Removed { marker: true };

/// Event names without a leading `s3:`, or prefixes that end in `*`; the first match decides.
const TABLE: [(&str, Change); 50] = [
    // MinIO calls these creations; the bytes stay.
    ("ObjectCreated:PutTagging", Described),
    ("ObjectCreated:DeleteTagging", Described),
    ("ObjectCreated:PutRetention", Described),
    ("ObjectCreated:PutLegalHold", Described),
    // Ceph says Post when a multipart upload begins, too: one change too many, and the right one follows.
    ("ObjectCreated:*", Created),
    ("ObjectRemoved:DeleteMarkerCreated", MARKED),
    ("ObjectRemoved:*", GONE),
    ("LifecycleExpiration:DeleteMarkerCreated", MARKED),
    ("LifecycleExpiration:*", GONE),
    ("LifecycleDelMarkerExpiration:*", GONE),
    ("ReducedRedundancyLostObject", GONE),
    // The copy that was restored is gone: S3 refuses to read the object from now on.
    ("ObjectRestore:Delete", GONE),
    ("ObjectRestore:Post", Described),
    ("ObjectRestore:Completed", Described),
    ("LifecycleTransition*", Described),
    ("IntelligentTiering*", Described),
    ("ObjectTagging:*", Described),
    ("ObjectAcl:*", Described),
    ("ObjectRetention:*", Described),
    ("ObjectAnnotation:*", Described),
    // MinIO.
    ("ObjectTransition:*", Described),
    ("ObjectAccessed:*", Nothing),
    ("BucketCreated:*", Nothing),
    ("BucketRemoved:*", Nothing),
    ("Scanner:*", Nothing),
    // Ceph; what was synced or replicated came from another zone, and is new in this one.
    ("ObjectLifecycle:Expiration:*", GONE),
    ("ObjectLifecycle:Transition:*", Described),
    ("ObjectSynced:Delete", GONE),
    ("ObjectSynced:DeletionMarkerCreated", MARKED),
    ("Replication:Create", Created),
    ("Replication:Delete", GONE),
    ("Replication:DeletionMarkerCreated", MARKED),
    ("Replication:*", Nothing),
    ("TestEvent", Nothing),
    // EventBridge.
    ("Object Created", Created),
    ("Object Deleted", GONE),
    ("Object Restore Expired", GONE),
    ("Object Restore *", Described),
    ("Object Tags *", Described),
    ("Object ACL Updated", Described),
    ("Object Storage Class Changed", Described),
    ("Object Access Tier Changed", Described),
    ("Async Copy Completion", Created),
    // R2; its PutObject, CopyObject and CompleteMultipartUpload are what its unknown ones are.
    ("DeleteObject", GONE),
    ("LifecycleDeletion", GONE),
    // GCS: an object is archived when another one takes its name, or nothing does.
    ("OBJECT_DELETE", GONE),
    ("OBJECT_ARCHIVE", MARKED),
    ("OBJECT_METADATA_UPDATE", Described),
    ("OBJECT_FINALIZE", Created),
    // Future events of objects.
    ("Object*", Created),
];

/// Returns the effect of an event by its name; `None`: the name is unknown and does not concern an object.
pub(super) fn change(name: &str) -> Option<Change> {
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    };
    TABLE.iter().find(|(pattern, _)| matches(pattern)).map(|(_, change)| *change)
}
