//! Names of operations in metrics and in the access log.

label! {
    /// An operation of S3, by its name in the API reference.
    Operation {
        GetObject = "GetObject",
        HeadObject = "HeadObject",
        GetObjectAttributes = "GetObjectAttributes",
        GetObjectTagging = "GetObjectTagging",
        GetObjectAcl = "GetObjectAcl",
        GetObjectRetention = "GetObjectRetention",
        GetObjectLegalHold = "GetObjectLegalHold",
        GetObjectTorrent = "GetObjectTorrent",
        SelectObjectContent = "SelectObjectContent",
        PutObject = "PutObject",
        CopyObject = "CopyObject",
        PostObject = "PostObject",
        RenameObject = "RenameObject",
        RestoreObject = "RestoreObject",
        PutObjectTagging = "PutObjectTagging",
        PutObjectAcl = "PutObjectAcl",
        PutObjectRetention = "PutObjectRetention",
        PutObjectLegalHold = "PutObjectLegalHold",
        DeleteObject = "DeleteObject",
        DeleteObjects = "DeleteObjects",
        DeleteObjectTagging = "DeleteObjectTagging",
        CreateMultipartUpload = "CreateMultipartUpload",
        UploadPart = "UploadPart",
        UploadPartCopy = "UploadPartCopy",
        CompleteMultipartUpload = "CompleteMultipartUpload",
        AbortMultipartUpload = "AbortMultipartUpload",
        ListParts = "ListParts",
        ListMultipartUploads = "ListMultipartUploads",
        ListObjects = "ListObjects",
        ListObjectsV2 = "ListObjectsV2",
        ListObjectVersions = "ListObjectVersions",
        ListBuckets = "ListBuckets",
        HeadBucket = "HeadBucket",
        GetBucketLocation = "GetBucketLocation",
        CreateBucket = "CreateBucket",
        DeleteBucket = "DeleteBucket",
        /// An `OPTIONS` request: the CORS preflight of a browser.
        Options = "Options",
        /// Any other operation (the configuration of buckets, say), and requests that could not be parsed.
        Other = "other",
    }
}
