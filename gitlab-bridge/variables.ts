import type { JobPayload, JobVariable } from './payload.ts';
import { timeoutMsOf } from './payload.ts';

/** A job's variable as an executor gets it. `file`: the value goes into a file and the variable names that file. */
export interface RunVariable {
  key: string;
  value: string;
  file: boolean;
}

/** What the node itself knows and GitLab's payload does not say. */
export interface RunFacts {
  projectDir: string;
  buildsDir: string;
  node: string;
  version: string;
  architecture: string;
  executor: string;
  /** Which of the jobs that run here at the same time it is: of all, and of those of its project. */
  slots: { all: number; project: number };
  /** PEM of the CA that is believed for GitLab's address; absent: those that are believed anyway. */
  tlsCa?: string | undefined;
  /** Stable for a class of runners, and no part of a secret: people put it into paths of caches. */
  runnerKey: string;
}

const nameShape = /^[A-Za-z_][A-Za-z0-9_]*$/;
/** Can a shell have a variable of that name, which means the job and not the shell? */
export const isForShell = (key: string): boolean => nameShape.test(key) && !shellsOwn.has(key);
/** Bash refuses to set them: they mean the shell, not the job. */
const shellsOwn = new Set(['BASHOPTS', 'BASH_VERSINFO', 'EUID', 'PPID', 'SHELLOPTS', 'UID']);
/** The gitlab-runner that jobs are held against: templates ask for its number before they use what it can do. */
const likeGitlabRunner = '19.4.0';

/** Beside the tree: files of variables, and what steps hand to later ones. As gitlab-runner has it. */
const tempDirOf = (projectDir: string): string => `${projectDir}.tmp`;
const gitlabEnvOf = (projectDir: string): string => `${tempDirOf(projectDir)}/gitlab_runner_env`;

/** Where the tree lies, which no job may say otherwise: its own paths are read by it. */
function placeVariables({ projectDir, buildsDir }: RunFacts): Record<string, string> {
  return { CI_PROJECT_DIR: projectDir, CI_BUILDS_DIR: buildsDir };
}

/** Variables that GitLab leaves to the runner (contract §1.3). A job's own value wins over them, as with gitlab-runner. */
function runnerVariables(payload: JobPayload, facts: RunFacts): Record<string, string> {
  return {
    CI_CONCURRENT_ID: String(facts.slots.all),
    CI_CONCURRENT_PROJECT_ID: String(facts.slots.project),
    CI_JOB_STATUS: 'running',
    CI_JOB_TIMEOUT: String(timeoutMsOf(payload) / 1000),
    CI_SERVER: 'yes',
    CI_RUNNER_VERSION: likeGitlabRunner,
    CI_RUNNER_REVISION: `autogit-node-${facts.version}`,
    CI_RUNNER_SHORT_TOKEN: facts.runnerKey,
    CI_RUNNER_EXECUTABLE_ARCH: `linux/${facts.architecture}`,
    [facts.executor === 'process' ? 'CI_SHARED_ENVIRONMENT' : 'CI_DISPOSABLE_ENVIRONMENT']: 'true',
    RUNNER_TEMP_PROJECT_DIR: tempDirOf(facts.projectDir),
    GITLAB_ENV: gitlabEnvOf(facts.projectDir),
    AUTOGIT_NODE: facts.node,
    AUTOGIT_VERSION: facts.version,
  };
}

/**
 * Replaces $NAME and ${NAME} by what `lookUp` knows, in one pass and by gitlab-runner's rules (Go's os.Expand): `$$` is a
 * dollar, unknown names and the shell's own ($1, $@, ...) are empty, a dollar before anything else stays.
 */
export function expand(text: string, lookUp: (key: string) => string | null): string {
  return text.replace(
    /\$(?:\{([^}]*)\}|(\{)|([A-Za-z_][A-Za-z0-9_]*)|([*#$@!?0-9-]))/g,
    (_, braced, open, bare, special) => {
      if (open !== undefined) return '';
      const key = (braced ?? bare ?? special) as string;
      return key === '$' ? '$' : (lookUp(key) ?? '');
    },
  );
}

/** The payload's variables, the last of each name; names that no shell could carry are left out and named. */
export function payloadVariables(payload: JobPayload): { variables: RunVariable[]; leftOut: string[] } {
  const variables: RunVariable[] = [];
  const leftOut: string[] = [];
  for (const { key, value, file } of lastOfEach(payload.variables).values())
    if (nameShape.test(key) && !value.includes('\0')) variables.push({ key, value, file: file === true });
    else leftOut.push(key);
  return { variables, leftOut };
}

function lastOfEach(variables: readonly JobVariable[]): Map<string, JobVariable> {
  const last = new Map<string, JobVariable>();
  for (const variable of variables) last.set(variable.key, variable);
  return last;
}

/**
 * Every variable of the job, expanded once: GitLab has done what it knows, and leaves `$$`, unknown names, file variables
 * (their path is meant) and what only the runner knows. Raw values stay as they are.
 */
export function jobVariables(payload: JobPayload, facts: RunFacts): RunVariable[] {
  const known = new Map<string, JobVariable>();
  const own = (values: Record<string, string>): void => {
    for (const [key, value] of Object.entries(values)) known.set(key, { key, value, raw: true });
  };
  own(runnerVariables(payload, facts));
  if (facts.tlsCa !== undefined)
    known.set('CI_SERVER_TLS_CA_FILE', { key: 'CI_SERVER_TLS_CA_FILE', value: facts.tlsCa, file: true, raw: true });
  for (const variable of lastOfEach(payload.variables).values()) known.set(variable.key, variable);
  own(placeVariables(facts));
  const lookUp = (key: string): string | null => {
    const found = known.get(key);
    if (found === undefined) return null;
    return found.file ? `${tempDirOf(facts.projectDir)}/${key}` : found.value;
  };
  const variables: RunVariable[] = [];
  for (const { key, value, file, raw } of known.values())
    if (nameShape.test(key) && !value.includes('\0'))
      variables.push({ key, value: raw ? value : expand(value, lookUp), file: file === true });
  const image = imageOf(payload, lookUpIn(variables, facts.projectDir));
  if (image !== null && !known.has('CI_JOB_IMAGE')) variables.push({ key: 'CI_JOB_IMAGE', value: image, file: false });
  return variables;
}

/** The image that the job names, with its variables in it. */
export const imageOf = (payload: JobPayload, lookUp: (key: string) => string | null): string | null =>
  payload.image?.name ? expand(payload.image.name, lookUp) : null;

/** Looks variables up as a name or a path of the job means them: a file by its path. */
export function lookUpIn(variables: readonly RunVariable[], projectDir: string): (key: string) => string | null {
  const values = new Map(
    variables.map(({ key, value, file }) => [key, file ? `${tempDirOf(projectDir)}/${key}` : value]),
  );
  return (key) => values.get(key) ?? null;
}

/** What a step must set: the runner's own variables, and each whose value is not the one that GitLab sent. */
export function lateVariables(payload: JobPayload, facts: RunFacts): RunVariable[] {
  const sent = lastOfEach(payload.variables);
  return jobVariables(payload, facts).filter(
    ({ key, value, file }) => !file && !shellsOwn.has(key) && sent.get(key)?.value !== value,
  );
}

/** Everything that must never be read in a trace: masked variables, every token of the payload, and `more`. */
export function secretsOf(payload: JobPayload, more: readonly string[] = []): string[] {
  const secrets = new Set<string>(more);
  secrets.add(payload.token);
  // What a shell gets of a masked value with a dollar in it is another text, and as secret.
  const lookUp = (key: string): string | null => payload.variables.findLast((one) => one.key === key)?.value ?? null;
  for (const { value, masked, raw } of [payload, ...payload.services].flatMap(({ variables }) => variables))
    if (masked) {
      secrets.add(value);
      const expanded = raw ? value : expand(value, lookUp);
      if (expanded.length >= leastMaskedChars) secrets.add(expanded);
    }
  for (const { password } of payload.credentials) if (password) secrets.add(password);
  for (const { token } of payload.dependencies) secrets.add(token);
  // What a tool prints of a secret may be encoded for an address.
  for (const secret of [...secrets]) {
    const inAddress = encoded(secret);
    if (inAddress !== secret) secrets.add(inAddress);
  }
  secrets.delete('');
  return [...secrets];
}

/** Less is no secret any more, and would black out half of the trace. GitLab masks from 8 characters on. */
const leastMaskedChars = 8;

/** A half pair of surrogates has no place in an address. */
function encoded(secret: string): string {
  try {
    return encodeURIComponent(secret);
  } catch {
    return secret;
  }
}

/** A word that any POSIX shell reads back as exactly this text. */
export function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
