import type { JobPayload } from './payload.ts';
import { variableOf } from './payload.ts';

/**
 * Everything that a job can ask of its runner: what GitLab's payload carries (contract §1.3) and the names that its
 * documentation gives. Each is done or named, nothing is ignored silently; the trace's line of what is ignored comes from
 * here, and a test walks both tables.
 *
 *     done     it has its effect
 *     refused  the job fails with the word (node/runs/job-script.ts `unsupported`)
 *     ignored  the job runs without it, and its trace says so; `met`: values that ask for nothing else than what is done
 *     told     it only tells something, there is nothing to do
 */
type Treatment = { is: 'done' | 'refused' | 'told' } | { is: 'ignored'; met?: RegExp };
const done = { is: 'done' } as const;
const refused = { is: 'refused' } as const;
const told = { is: 'told' } as const;
const ignored = (met?: RegExp): Treatment => (met ? { is: 'ignored', met } : { is: 'ignored' });
const off = /^(?:|0|f|false|no|off)$/i;

/** Fields of the payload. A field that stands here without its parts is treated as a whole. */
export const payloadFields: Record<string, Treatment> = {
  id: done,
  token: done,
  allow_git_fetch: done,
  job_info: told,
  'git_info.repo_url': done,
  'git_info.repo_object_format': done,
  'git_info.ref': done,
  'git_info.sha': done,
  'git_info.before_sha': told,
  'git_info.ref_type': told,
  'git_info.refspecs': done,
  'git_info.depth': done,
  // What a job leaves for later ones is kept apart by it.
  'git_info.protected': done,
  'runner_info.timeout': done,
  'runner_info.runner_session_url': told,
  'runner_info.uuid': told,
  inputs: ignored(),
  variables: done,
  'steps.name': done,
  'steps.script': done,
  // The job's own, once more.
  'steps.timeout': told,
  'steps.when': done,
  'steps.allow_failure': done,
  run: refused,
  // Those around the sources; another one is refused.
  hooks: done,
  'image.name': done,
  'image.alias': told,
  'image.entrypoint': done,
  'image.command': ignored(),
  'image.ports': ignored(),
  'image.variables': ignored(),
  'image.pull_policy': done,
  'image.executor_opts.docker.user': done,
  'image.executor_opts.docker.platform': done,
  'image.executor_opts.kubernetes': told,
  'services.name': done,
  'services.alias': done,
  'services.entrypoint': done,
  'services.command': done,
  // For the web terminal, which a job does not have.
  'services.ports': ignored(),
  'services.variables': done,
  'services.pull_policy': done,
  'services.executor_opts.docker.user': done,
  'services.executor_opts.docker.platform': done,
  'services.executor_opts.kubernetes': told,
  'artifacts.name': done,
  'artifacts.untracked': done,
  'artifacts.paths': done,
  'artifacts.exclude': done,
  'artifacts.when': done,
  'artifacts.expire_in': done,
  'artifacts.artifact_type': done,
  'artifacts.artifact_format': done,
  'cache.key': done,
  'cache.untracked': done,
  'cache.policy': done,
  'cache.paths': done,
  'cache.when': done,
  'cache.fallback_keys': done,
  // GitLab has made the key by it.
  'cache.unprotect': told,
  'credentials.type': told,
  'credentials.url': done,
  'credentials.username': done,
  'credentials.password': done,
  dependencies: done,
  'features.trace_sections': told,
  'features.token_mask_prefixes': done,
  'features.failure_reasons': done,
  'features.tracing': ignored(),
  secrets: refused,
  policy_options: told,
  suspend_options: ignored(),
};

/** Variables that ask something of the runner. */
export const askingNames: Record<string, Treatment> = {
  GIT_STRATEGY: done,
  GIT_DEPTH: done,
  GIT_CHECKOUT: done,
  GIT_FETCH_EXTRA_FLAGS: done,
  GIT_SUBMODULE_STRATEGY: done,
  GIT_SUBMODULE_PATHS: done,
  GIT_SUBMODULE_DEPTH: done,
  // How many at once is the node's own affair.
  GIT_SUBMODULE_UPDATE_FLAGS: ignored(/^(?:\s|--jobs[ =]\d+|-j ?\d+|--progress|--quiet|--force)*$/),
  GIT_SUBMODULE_FORCE_HTTPS: done,
  GIT_CLEAN_FLAGS: done,
  GIT_CLONE_PATH: done,
  GIT_CLONE_EXTRA_FLAGS: ignored(/^$/),
  GIT_USER_AGENT: ignored(/^$/),
  GIT_LFS_SKIP_SMUDGE: done,
  // Sources and artifacts are tried until GitLab is back, the job's time permitting.
  GET_SOURCES_ATTEMPTS: done,
  ARTIFACT_DOWNLOAD_ATTEMPTS: done,
  EXECUTOR_JOB_SECTION_ATTEMPTS: ignored(/^[01]?$/),
  // Nothing of a cache is worth a second try: what is kept is here, or at a machine that was asked.
  RESTORE_CACHE_ATTEMPTS: told,
  RUNNER_SCRIPT_TIMEOUT: done,
  RUNNER_AFTER_SCRIPT_TIMEOUT: done,
  RUNNER_GENERATE_ARTIFACTS_METADATA: ignored(off),
  AFTER_SCRIPT_IGNORE_ERRORS: done,
  CI_DEBUG_TRACE: done,
  CI_DEBUG_SERVICES: done,
  ARTIFACT_COMPRESSION_LEVEL: ignored(/^(?:|default)$/),
  CACHE_COMPRESSION_LEVEL: done,
  CACHE_COMPRESSION_FORMAT: done,
  CACHE_FALLBACK_KEY: done,
  // How an object storage is read, which no cache lies in here.
  CACHE_CHUNK_SIZE: told,
  CACHE_CONCURRENCY: told,
  CACHE_TRANSFER_BUFFER_SIZE: told,
  // A job with secrets is refused.
  SECRETS_RETRIEVAL_ATTEMPTS: told,
  CACHE_REQUEST_TIMEOUT: done,
  FF_HASH_CACHE_KEYS: done,
  TRANSFER_METER_FREQUENCY: ignored(/^(?:|0s?)$/),
  ARTIFACT_DOWNLOAD_TIMEOUT: ignored(/^$/),
  DOCKER_AUTH_CONFIG: done,
  FF_ENABLE_BASH_EXIT_CODE_CHECK: done,
  FF_SCRIPT_SECTIONS: ignored(off),
  FF_TIMESTAMPS: ignored(off),
  // A job with services always has a network of its own.
  FF_NETWORK_PER_BUILD: done,
  // These say how ours is anyway: values as they are, files of the image's own user, one shell for all lines.
  FF_POSIXLY_CORRECT_ESCAPES: done,
  FF_USE_NEW_BASH_EVAL_STRATEGY: done,
  FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR: done,
  FF_GIT_URLS_WITHOUT_TOKENS: done,
  FF_USE_FASTZIP: done,
};

/** A switch of gitlab-runner that this version does not know asks for something when it is on. */
const switchShape = /^FF_[A-Z0-9_]+$/;

// What Go's ParseBool takes, which gitlab-runner reads switches with.
const yes = /^(?:1|t|T|TRUE|true|True)$/;
const no = /^(?:0|f|F|FALSE|false|False)$/;
export const isOn = (payload: JobPayload, key: string): boolean => yes.test(variableOf(payload, key) ?? '');
export const isOff = (payload: JobPayload, key: string): boolean => no.test(variableOf(payload, key) ?? '');

/** What its variables hold may stand in its trace: GitLab has to know, as it shows it to fewer people then. */
export const isDebugged = (payload: JobPayload): boolean =>
  isOn(payload, 'CI_DEBUG_TRACE') || isOn(payload, 'CI_DEBUG_SERVICES');

const switches = [
  'GIT_CHECKOUT',
  'GIT_LFS_SKIP_SMUDGE',
  'GIT_SUBMODULE_FORCE_HTTPS',
  'CI_DEBUG_TRACE',
  'CI_DEBUG_SERVICES',
  'AFTER_SCRIPT_IGNORE_ERRORS',
  'FF_ENABLE_BASH_EXIT_CODE_CHECK',
];
const durations = ['RUNNER_SCRIPT_TIMEOUT', 'RUNNER_AFTER_SCRIPT_TIMEOUT'];

/** Names that are obeyed, with values that say nothing: for the trace. */
export function oddValues(payload: JobPayload): string[] {
  const sentAs = (name: string): string => variableOf(payload, name) ?? '';
  return [
    ...durations.filter((name) => sentAs(name) !== '' && durationMs(sentAs(name)) === null),
    ...switches.filter((name) => sentAs(name) !== '' && !isOn(payload, name) && !isOff(payload, name)),
  ];
}

const isEmpty = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === '' ||
  value === false ||
  (typeof value === 'object' && Object.keys(value).length === 0);

/** What the job asks for and does not get, by name; for the trace. */
export function ignoredOf(payload: JobPayload): string[] {
  const names = new Set<string>();
  for (const [field, value] of fieldsOf(payload))
    if (!isEmpty(value) && (treatmentOf(field)?.is ?? 'ignored') === 'ignored') names.add(field);
  for (const { key } of payload.variables) {
    const treatment = askingNames[key] ?? (switchShape.test(key) ? ignored(off) : undefined);
    if (treatment?.is !== 'ignored') continue;
    const value = variableOf(payload, key) ?? '';
    if (!treatment.met?.test(value)) names.add(key);
  }
  for (const flag of fetchFlags(payload).ignored) names.add(`GIT_FETCH_EXTRA_FLAGS ${flag}`);
  return [...names].map((name) => name.replace(/[^\x20-\x7e]/g, '?').slice(0, 100)).slice(0, 50);
}

/** A field's own entry, or that of what it is a part of. Only own entries: a payload may name a field `constructor`. */
export function treatmentOf(field: string): Treatment | undefined {
  const parts = field.split('.');
  for (let length = parts.length; length > 0; length--) {
    const name = parts.slice(0, length).join('.');
    if (Object.hasOwn(payloadFields, name)) return payloadFields[name];
  }
  return undefined;
}

/** Each field that the tables may know, as `image.pull_policy`; of lists, the fields of all their entries. */
function fieldsOf(payload: JobPayload): [string, unknown][] {
  const fields: [string, unknown][] = [];
  const walk = (name: string, value: unknown): void => {
    if (treatmentOf(name) !== undefined && Object.hasOwn(payloadFields, name)) return void fields.push([name, value]);
    const isGroup = Object.keys(payloadFields).some((field) => field.startsWith(`${name}.`));
    if (!isGroup || value === null || typeof value !== 'object') return void fields.push([name, value]);
    for (const entry of Array.isArray(value) ? value : [value])
      if (entry !== null && typeof entry === 'object')
        for (const [key, part] of Object.entries(entry)) walk(`${name}.${key}`, part);
  };
  for (const [name, value] of Object.entries(payload)) walk(name, value);
  return fields;
}

/** GIT_FETCH_EXTRA_FLAGS: tags; what only speaks of pruning or talk is met; nothing else goes to the machine's git. */
export function fetchFlags(payload: JobPayload): { tags: 'follow' | 'all' | 'none'; ignored: string[] } {
  let tags: 'follow' | 'all' | 'none' = 'follow';
  const others: string[] = [];
  for (const flag of (variableOf(payload, 'GIT_FETCH_EXTRA_FLAGS') ?? '').split(/\s+/)) {
    if (flag === '--tags' || flag === '-t') tags = 'all';
    else if (flag === '--no-tags' || flag === '-n') tags = 'none';
    else if (!/^(?:|--prune|-p|--quiet|-q|--force|-f|--verbose|-v|--progress|--no-progress)$/.test(flag))
      others.push(flag);
  }
  return { tags, ignored: others };
}

/** The ms of a duration as Go writes it (`90s`, `1h30m`); null for what is none. */
export function durationMs(text: string): number | null {
  const unit: Record<string, number> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };
  const parts = [...text.trim().matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)];
  if (parts.length === 0 || parts.map(([whole]) => whole).join('') !== text.trim()) return null;
  const sum = parts.reduce((ms, [, count, name]) => ms + Number(count) * (unit[name as string] as number), 0);
  return Number.isFinite(sum) && sum > 0 ? Math.round(sum) : null;
}
