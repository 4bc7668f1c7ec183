import type { Counts } from './counts.ts';
import { counter, type Family, gauge, histogram, label, type Sample, type Seen, yes } from './family.ts';

/** Why a leader was heard no more (scheduler/raft): by words of ours. */
const lossReasons = ['refused', 'silent', 'timeout', 'stepped-down', 'new-term', 'new-era'] as const;
/** How a run ended; one that failed by no doing of its own by whose (protocol/job-fault.ts). */
const runEnds = ['success', 'failed', 'canceled', 'machine', 'environment', 'network', 'owner'] as const;

/** What this agent process is, and what it has counted since it began. All machines' counts are the mesh's: sum() them. */
export const agentFamilies = (seen: Seen): Family[] => [
  gauge('autogit_build_info', 'The version of this agent, and of its Node.js; always 1.', [
    { labels: { version: label(seen.version), node_version: label(seen.nodeVersion) }, value: 1 },
  ]),
  gauge('autogit_joined', 'Whether this machine is in a mesh; 0 while it waits to be let in.', yes(seen.mesh !== null)),
  counter('process_cpu_seconds_total', 'CPU that this agent process has used.', seen.process.cpuSeconds),
  gauge('process_resident_memory_bytes', 'Memory that this agent process has in RAM.', seen.process.residentBytes),
  gauge('process_start_time_seconds', 'When this agent process began, since 1970.', seen.process.startedAt),
  gauge('nodejs_heap_size_used_bytes', "What of V8's heap this agent process uses.", seen.process.heapBytes),
  ...leaderFamilies(seen.counts),
  ...runFamilies(seen.counts),
  ...workFamilies(seen),
];

const of = ({ events }: Counts, event: string): number => events.get(event) ?? 0;

/** Of all events that are told apart by a word: what is none of the known ones counts as `other`, so that nothing is lost. */
function told(counts: Counts, event: string, key: string, words: readonly string[]): Sample[] {
  const all = [...counts.events].filter(([name]) => name.startsWith(`${event} `)).reduce((sum, [, n]) => sum + n, 0);
  const known = words.map((word) => ({ labels: { [key]: word }, value: of(counts, `${event} ${word}`) }));
  return [...known, { labels: { [key]: 'other' }, value: all - known.reduce((sum, { value }) => sum + value, 0) }];
}

const leaderFamilies = (counts: Counts): Family[] => [
  counter('autogit_leader_changes_total', 'Leaders that this agent has seen begin.', of(counts, 'leader-elected')),
  counter(
    'autogit_leader_losses_total',
    'Leaders that this agent has heard no more, by why.',
    told(counts, 'leader-lost', 'reason', lossReasons),
  ),
  counter('autogit_false_alarms_total', 'Evidence against a leader that lived, believed.', of(counts, 'false-alarm')),
  counter(
    'autogit_machine_losses_total',
    'Machines or their agents that this agent has found gone.',
    of(counts, 'node-lost'),
  ),
  counter(
    'autogit_bad_messages_total',
    'Messages, reports and questions of others that no honest agent sends.',
    ['message-refused', 'bad-frame', 'bad-report', 'bad-ask', 'bad-enrol'].reduce(
      (n, event) => n + of(counts, event),
      0,
    ),
  ),
];

const runFamilies = (counts: Counts): Family[] => [
  counter(
    'autogit_grants_total',
    'Grants: sent, refused and never answered as leader; without an answer of GitLab here.',
    ['sent', 'refused', 'expired', 'unanswered'].map((outcome) => ({
      labels: { outcome },
      value: of(counts, `grant-${outcome}`),
    })),
  ),
  counter('autogit_runs_started_total', 'Runs that began on this machine.', of(counts, 'run-started')),
  counter(
    'autogit_runs_finished_total',
    'Runs that ended on this machine: success, failed by themselves, canceled, or failed by no doing of their own, by whose.',
    told(counts, 'run-finished', 'end', runEnds),
  ),
  counter(
    'autogit_runs_lost_total',
    'Runs of any machine that this agent, as leader, gave up.',
    of(counts, 'run-lost'),
  ),
  counter(
    'autogit_jobs_rescued_total',
    'Jobs that GitLab had given away and nobody had, put back by this leader.',
    of(counts, 'run-rescued'),
  ),
  counter(
    'autogit_jobs_retried_total',
    'Jobs that failed by no doing of their own, for which this leader asked for another try.',
    of(counts, 'run-retried'),
  ),
  counter(
    'autogit_machine_cordons_total',
    'How often this machine took no jobs since several failed because of it.',
    of(counts, 'machine-cordoned'),
  ),
];

const workFamilies = ({ counts, calls }: Seen): Family[] => [
  counter(
    'autogit_sandboxes_total',
    'Places for jobs (a container, a folder) made here, and those that could not be made.',
    Object.entries(counts.places).flatMap(([executor, { made, failed }]) => [
      { labels: { executor, outcome: 'made' }, value: made },
      { labels: { executor, outcome: 'failed' }, value: failed },
    ]),
  ),
  histogram(
    'autogit_job_queue_seconds',
    'How long jobs had waited at GitLab when this machine got them.',
    counts.queueSeconds,
  ),
  histogram('autogit_run_seconds', 'How long runs took on this machine, from beginning to end.', counts.runSeconds),
  counter(
    'autogit_gitlab_requests_total',
    "Requests of this agent to GitLab's API, by class of status (none: no answer).",
    Object.entries(calls.ends).map(([code, value]) => ({ labels: { code }, value })),
  ),
  histogram(
    'autogit_gitlab_request_seconds',
    "How long GitLab's API took to begin its answer to this agent.",
    calls.seconds,
  ),
  histogram(
    'autogit_ledger_commit_seconds',
    'From when this agent accepted a ledger until it knew that it is committed.',
    counts.commitSeconds,
  ),
  histogram('autogit_store_write_seconds', "One write of this agent's store, with its fsync.", counts.storeSeconds),
  counter(
    'autogit_gitlab_takeovers_total',
    'How often this agent, as leader, had another machine go on with GitLab.',
    of(counts, 'gitlab-takeover'),
  ),
];
