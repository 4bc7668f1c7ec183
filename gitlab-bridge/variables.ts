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
}

const nameShape = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Variables that GitLab leaves to the runner (contract §1.3). They win over the payload's. */
export function runnerVariables(payload: JobPayload, facts: RunFacts): RunVariable[] {
  const plain = (key: string, value: string): RunVariable => ({ key, value, file: false });
  return [
    plain('CI_PROJECT_DIR', facts.projectDir),
    plain('CI_BUILDS_DIR', facts.buildsDir),
    plain('CI_CONCURRENT_ID', '0'),
    plain('CI_CONCURRENT_PROJECT_ID', '0'),
    plain('CI_JOB_STATUS', 'running'),
    plain('CI_JOB_TIMEOUT', String(timeoutMsOf(payload) / 1000)),
    plain('CI_SERVER', 'yes'),
    plain('CI_RUNNER_VERSION', facts.version),
    plain('CI_RUNNER_EXECUTABLE_ARCH', `linux/${facts.architecture}`),
    plain(facts.executor === 'process' ? 'CI_SHARED_ENVIRONMENT' : 'CI_DISPOSABLE_ENVIRONMENT', 'true'),
    plain('AUTOGIT_NODE', facts.node),
  ];
}

/** Replaces $NAME and ${NAME} by what `lookUp` knows; `$$` stays a dollar, unknown names become empty. */
export function expand(text: string, lookUp: (key: string) => string | null): string {
  return text.replace(/\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))/g, (whole, braced, bare) => {
    const key = (braced ?? bare) as string | undefined;
    return key === undefined ? whole.slice(1) : (lookUp(key) ?? '');
  });
}

/** The payload's variables, the last of each name; names that no shell could carry are left out and named. */
export function payloadVariables(payload: JobPayload): { variables: RunVariable[]; leftOut: string[] } {
  const last = new Map<string, JobVariable>();
  for (const variable of payload.variables) last.set(variable.key, variable);
  const variables: RunVariable[] = [];
  const leftOut: string[] = [];
  for (const { key, value, file } of last.values())
    if (nameShape.test(key) && !value.includes('\0')) variables.push({ key, value, file: file === true });
    else leftOut.push(key);
  return { variables, leftOut };
}

/**
 * What changes once the job's folder is known: the runner's own variables, and those of the payload that refer to one
 * of them. GitLab sends values expanded but for what only the runner knows; raw ones and files stay as they are.
 */
export function lateVariables(payload: JobPayload, facts: RunFacts): RunVariable[] {
  const own = runnerVariables(payload, facts);
  const values = new Map(payload.variables.map(({ key, value }) => [key, value]));
  for (const { key, value } of own) values.set(key, value);
  const refers = new RegExp(
    `\\$(?:\\{(?:${own.map((v) => v.key).join('|')})\\}|(?:${own.map((v) => v.key).join('|')})\\b)`,
  );
  const late = new Map(own.map((variable) => [variable.key, variable]));
  const lookUp = (key: string): string | null => values.get(key) ?? null;
  for (const variable of payload.variables) {
    if (variable.raw || variable.file || late.has(variable.key) || !nameShape.test(variable.key)) continue;
    if (refers.test(variable.value))
      late.set(variable.key, { key: variable.key, value: expand(variable.value, lookUp), file: false });
  }
  return [...late.values()];
}

/** Everything that must never be read in a trace: masked variables, every token of the payload, and `more`. */
export function secretsOf(payload: JobPayload, more: readonly string[] = []): string[] {
  const secrets = new Set<string>(more);
  secrets.add(payload.token);
  for (const { value, masked } of payload.variables) if (masked) secrets.add(value);
  for (const { password } of payload.credentials) if (password) secrets.add(password);
  for (const { token } of payload.dependencies) secrets.add(token);
  // What a tool prints of a secret may be encoded for an address.
  for (const secret of [...secrets]) {
    const inAddress = encodeURIComponent(secret);
    if (inAddress !== secret) secrets.add(inAddress);
  }
  secrets.delete('');
  return [...secrets];
}

/** A word that any POSIX shell reads back as exactly this text. */
export function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
