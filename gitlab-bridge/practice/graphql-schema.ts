import { buildSchema } from 'graphql';

/** The part of GitLab's schema that we have, with GitLab's names and types. Everything else is a validation error. */
export const schema = buildSchema(/* GraphQL */ `
  scalar Time
  scalar Duration
  scalar JobID
  scalar CiRunnerID

  enum CiJobStatus { CREATED WAITING_FOR_RESOURCE PREPARING WAITING_FOR_CALLBACK PENDING RUNNING SUCCESS FAILED CANCELING CANCELED SKIPPED MANUAL SCHEDULED }
  enum PipelineStatusEnum { CREATED WAITING_FOR_RESOURCE PREPARING WAITING_FOR_CALLBACK PENDING RUNNING FAILED SUCCESS CANCELED CANCELING SKIPPED MANUAL SCHEDULED }
  enum CiRunnerType { INSTANCE_TYPE GROUP_TYPE PROJECT_TYPE }
  enum CiRunnerStatus { ONLINE OFFLINE STALE NEVER_CONTACTED }

  type PageInfo { endCursor: String hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String }
  type UserCore { id: ID! username: String! name: String! webPath: String! }
  type CurrentUser { id: ID! username: String! name: String! webPath: String! admin: Boolean }
  type QueryComplexity { score: Int limit: Int }
  type Metadata { version: String! revision: String! enterprise: Boolean! }
  type CiStage { id: ID name: String }
  type CiRunner { id: CiRunnerID! description: String runnerType: CiRunnerType! tagList: [String!] paused: Boolean! runUntagged: Boolean! locked: Boolean status: CiRunnerStatus! contactedAt: Time createdAt: Time shortSha: String }
  type CiRunnerManager { id: ID! systemId: String! version: String revision: String platformName: String architectureName: String contactedAt: Time createdAt: Time ipAddress: String }
  type Pipeline { id: ID! iid: String! sha: String ref: String status: PipelineStatusEnum! path: String createdAt: Time! startedAt: Time finishedAt: Time duration: Int yamlErrorMessages: String yamlErrors: Boolean user: UserCore
    jobs(statuses: [CiJobStatus!], retried: Boolean, first: Int, after: String, last: Int, before: String): CiJobConnection }
  type Project { id: ID! name: String! path: String! fullPath: ID! nameWithNamespace: String! description: String webUrl: String httpUrlToRepo: String visibility: String createdAt: Time
    jobs(statuses: [CiJobStatus!], retried: Boolean, first: Int, after: String, last: Int, before: String): CiJobConnection
    pipelines(status: PipelineStatusEnum, ref: String, first: Int, after: String, last: Int, before: String): PipelineConnection }
  type PipelineConnection { count: Int! nodes: [Pipeline] edges: [PipelineEdge] pageInfo: PageInfo! }
  type PipelineEdge { cursor: String! node: Pipeline }
  type CiJob {
    id: JobID name: String status: CiJobStatus tags: [String!] createdAt: Time! queuedAt: Time queuedDuration: Duration startedAt: Time finishedAt: Time duration: Int
    refName: String refPath: String shortSha: String! commitPath: String stage: CiStage project: Project pipeline: Pipeline runner: CiRunner runnerManager: CiRunnerManager
    stuck: Boolean! retried: Boolean allowFailure: Boolean! failureMessage: String exitCode: Int webPath: String active: Boolean! cancelable: Boolean! retryable: Boolean! playable: Boolean! manualJob: Boolean schedulingType: String
  }
  type CiJobConnection { count(limit: Int): Int nodes: [CiJob] edges: [CiJobEdge] pageInfo: PageInfo! }
  type CiJobEdge { cursor: String! node: CiJob }

  type Query {
    currentUser: CurrentUser
    metadata: Metadata
    queryComplexity: QueryComplexity
    echo(text: String!): String!
    project(fullPath: ID!): Project
    jobs(statuses: [CiJobStatus!], runnerTypes: [CiRunnerType!], compatibleRunnerId: CiRunnerID, name: String, first: Int, after: String, last: Int, before: String): CiJobConnection
  }
`);
