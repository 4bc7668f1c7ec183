import { durationMs, isOff, isOn } from '../../gitlab-bridge/job-contract.ts';
import type { JobArtifact, JobPayload } from '../../gitlab-bridge/payload.ts';
import { timeoutMsOf, variableOf } from '../../gitlab-bridge/payload.ts';
import type { RunVariable } from '../../gitlab-bridge/variables.ts';
import { expand, shellQuoted } from '../../gitlab-bridge/variables.ts';
import type { Executor } from '../ports.ts';
import type { SubmoduleSpec } from './submodule-plan.ts';
import { gitStrategy, treeUse } from './tree-plan.ts';

/** The shell texts of a job's steps, and the lines around them, as people know them from gitlab-runner. Pure. */
export interface PlannedStep {
  name: string;
  lines: string[];
  when: 'on_success' | 'on_failure' | 'always';
  isAfterScript: boolean;
  allowFailure: boolean;
  limitMs: number | null;
  /** What fails in it fails the job, though it is after_script. */
  failsJob: boolean;
  checksEachLine: boolean;
  isTraced: boolean;
}

const colour = {
  green: '\u001b[32;1m',
  cyan: '\u001b[36;1m',
  yellow: '\u001b[33;1m',
  red: '\u001b[31;1m',
  grey: '\u001b[37m',
  off: '\u001b[0;m',
};
export const heading = (text: string): string => `${colour.cyan}${text}${colour.off}\n`;
export const good = (text: string): string => `${colour.green}${text}${colour.off}\n`;
export const warning = (text: string): string => `${colour.yellow}WARNING: ${text}${colour.off}\n`;
export const failure = (text: string): string => `${colour.red}ERROR: ${text}${colour.off}\n`;

/** GitLab's markers of a section that folds; `wallMs` is for the duration that it shows. */
export const sectionStart = (name: string, wallMs: number): string =>
  `section_start:${Math.floor(wallMs / 1000)}:${name}\r\u001b[0K`;
export const sectionEnd = (name: string, wallMs: number): string =>
  `section_end:${Math.floor(wallMs / 1000)}:${name}\r\u001b[0K`;

/** What a service prints, as gitlab-runner shows it: its aliases, the time, the text. */
export const serviceLine = {
  any: /^.*\[service:[^\]]*\] \d{4}-\d\d-\d\dT.*\n/gm,
  of: (name: string, line: string): string => `${colour.grey}[service:${name}] ${line}${colour.off}\n`,
  /** The time of the newest line of a service in a trace. */
  lastTime: (trace: string, name: string): string | null => {
    const head = `[service:${name}] `;
    const at = trace.lastIndexOf(head);
    return at < 0 ? null : (/^\S+/.exec(trace.slice(at + head.length, at + head.length + 40))?.[0] ?? null);
  },
};

/** The steps of a job in order; the same payload gives the same steps in every agent process. */
export function planSteps(payload: JobPayload): PlannedStep[] {
  return payload.steps.map((step) => {
    const isAfterScript = step.name === 'after_script';
    return {
      name: step.name,
      lines: step.script,
      when: step.when === 'always' || step.when === 'on_failure' ? step.when : 'on_success',
      isAfterScript,
      allowFailure: step.allow_failure === true,
      limitMs: stepLimitMs(payload, isAfterScript),
      // A job says so on purpose: by default what after_script does changes no result.
      failsJob: isAfterScript && isOff(payload, 'AFTER_SCRIPT_IGNORE_ERRORS'),
      checksEachLine: isOn(payload, 'FF_ENABLE_BASH_EXIT_CODE_CHECK'),
      isTraced: isOn(payload, 'CI_DEBUG_TRACE'),
    };
  });
}

const hookNames = ['pre_get_sources_script', 'post_get_sources_script'] as const;
export type HookName = (typeof hookNames)[number];

/** The lines of a job's hook; none where it has no sources, as with gitlab-runner. */
export function hookLines(payload: JobPayload, name: HookName): string[] {
  const strategy = treeUse(payload)?.strategy;
  if (strategy === 'none' || strategy === 'empty') return [];
  return payload.hooks.filter((hook) => hook.name === name).flatMap(({ script }) => script);
}

/** How often hooks and sources are tried, as with gitlab-runner; a GitLab that is away is waited for, and no try is over. */
export function sourceAttempts(payload: JobPayload): number {
  const asked = variableOf(payload, 'GET_SOURCES_ATTEMPTS') ?? '';
  return /^\d{1,9}$/.test(asked) ? Math.min(10, Math.max(1, Number(asked))) : 1;
}

interface HookPlace {
  name: HookName;
  projectDir: string;
  /** CI_BUILDS_DIR. */
  buildsDir: string;
  /** Beside the tree; null: the user's own is meant. */
  homeDir: string | null;
  /** What it leaves in the tree's folder goes: a new tree is put there. */
  isEmptied: boolean;
}

/**
 * The script of a hook. It runs in the job's own image, which may have no git, and it must not leave settings of git for the script,
 * as gitlab-runner runs it in an image of its own.
 */
export function hookScript(payload: JobPayload, place: HookPlace, late: readonly RunVariable[]): string[] {
  const { name, projectDir, buildsDir, homeDir, isEmptied } = place;
  const inTree = shellQuoted(projectDir);
  const emptying = `cd / && rm -rf -- ${inTree}/* ${inTree}/.[!.]* ${inTree}/..?* || :`;
  const noGit =
    'command -v git >/dev/null 2>&1 || git() { printf \'%s\\n\' "WARNING: the image has no git, so this is left out: git $*" >&2; }';
  const planned = {
    lines: hookLines(payload, name),
    isTraced: isOn(payload, 'CI_DEBUG_TRACE'),
    checksEachLine: isOn(payload, 'FF_ENABLE_BASH_EXIT_CODE_CHECK'),
  };
  const [isBefore, home] = [name === 'pre_get_sources_script', homeDir === null ? null : shellQuoted(homeDir)];
  return [
    ...(isEmptied ? [`trap ${shellQuoted(emptying)} EXIT`] : []),
    ...(isBefore ? [`cd ${shellQuoted(buildsDir)}`] : []),
    ...(home === null ? [] : [`mkdir -p ${home}`, `export HOME=${home}`, noGit]),
    ...stepLines(planned, late, 'running'),
  ];
}

/** after_script may take this long, as with gitlab-runner. */
const afterScriptMs = 5 * 60_000;

/** The time that a step has for itself; null: that of the job. */
function stepLimitMs(payload: JobPayload, isAfterScript: boolean): number | null {
  const name = isAfterScript ? 'RUNNER_AFTER_SCRIPT_TIMEOUT' : 'RUNNER_SCRIPT_TIMEOUT';
  const asked = durationMs(variableOf(payload, name) ?? '');
  if (asked === null) return isAfterScript ? afterScriptMs : null;
  return Math.min(asked, timeoutMsOf(payload));
}

/** What earlier steps left in $GITLAB_ENV: NAME=value lines, as values, never as shell. */
const readGitlabEnv = `if [ -f "$GITLAB_ENV" ]; then
  while IFS= read -r AUTOGIT_LINE || [ -n "$AUTOGIT_LINE" ]; do
    case "$AUTOGIT_LINE" in
      [A-Za-z_]*=*) case "\${AUTOGIT_LINE%%=*}" in *[!A-Za-z0-9_]*) ;; *) export "$AUTOGIT_LINE" ;; esac ;;
    esac
  done < "$GITLAB_ENV"
  unset AUTOGIT_LINE
fi`;
/** `case` leaves $? as it found it. */
const checkExitCode = 'case "$?" in 0) ;; *) exit "$?" ;; esac';

/** The script of one step: what only the node knows, then each line, said before it is done. */
export function stepLines(
  step: Pick<PlannedStep, 'lines' | 'isTraced' | 'checksEachLine'>,
  late: readonly RunVariable[],
  jobStatus: string,
): string[] {
  const lines = late.map(({ key, value }) => `export ${key}=${shellQuoted(value)}`);
  if (late.some(({ key }) => key === 'GITLAB_ENV')) lines.push(readGitlabEnv);
  lines.push(`export CI_JOB_STATUS=${shellQuoted(jobStatus)}`);
  if (step.isTraced) lines.push('set -x');
  for (const line of step.lines) {
    const [first = '', ...rest] = line.replace(/\n+$/, '').split('\n');
    const said = rest.length > 0 ? `$ ${first} # collapsed multi-line command` : `$ ${first}`;
    lines.push(`printf '%s\\n' ${shellQuoted(`${colour.green}${said}${colour.off}`)}`, line);
    if (step.checksEachLine) lines.push(checkExitCode);
  }
  return lines;
}

/** Names, in a sentence, what this version cannot do for the job; null when it can do all. */
export function unsupported(payload: JobPayload, executor: Executor['kind']): string | null {
  if (payload.services.length > 0 && executor !== 'docker')
    return 'services need the docker executor, and this node runs its jobs as processes: add the tag docker to the job, or start the node with --executor docker';
  const named: string[] = [];
  if (typeof payload.run === 'string' && payload.run !== '' && payload.run !== 'null') named.push('run (CI functions)');
  for (const { name, script } of payload.hooks)
    if (script.length > 0 && !hookNames.includes(name as HookName)) named.push(`hooks:${name}`);
  if (Object.keys(payload.secrets ?? {}).length > 0)
    named.push('secrets: (its script can fetch them by a token of id_tokens:, or a variable of the project has them)');
  const modules = submoduleStrategy(payload);
  if (!['none', 'normal', 'recursive'].includes(modules))
    named.push(`GIT_SUBMODULE_STRATEGY: ${modules} (there are none, normal and recursive)`);
  for (const { when } of [...payload.steps, ...payload.artifacts])
    if (when && !['on_success', 'on_failure', 'always'].includes(when)) named.push(`when: ${when}`);
  const format = payload.artifacts.find(({ artifact_format }) => !isKnownFormat(artifact_format));
  if (format) named.push(`artifacts of format ${format.artifact_format}`);
  if (treeUse(payload) === null)
    named.push(`GIT_STRATEGY: ${gitStrategy(payload)} (there are clone, fetch, none and empty)`);
  if (payload.steps.length === 0) named.push('a job without a script');
  return named.length === 0 ? null : cannot(named.join(', '));
}

const cannot = (what: string): string => `this version of autogit-node does not support ${what}`;

const submoduleStrategy = (payload: JobPayload): string => variableOf(payload, 'GIT_SUBMODULE_STRATEGY') || 'none';

/** Undefined: the job wants none. */
export function submoduleSpec(payload: JobPayload): SubmoduleSpec | undefined {
  const strategy = submoduleStrategy(payload);
  if (strategy !== 'normal' && strategy !== 'recursive') return undefined;
  const asked = variableOf(payload, 'GIT_SUBMODULE_DEPTH') ?? '';
  const words = (variableOf(payload, 'GIT_SUBMODULE_PATHS') ?? '').split(/\s+/);
  return {
    isRecursive: strategy === 'recursive',
    depth: /^\d{1,9}$/.test(asked) ? Number(asked) : (payload.git_info?.depth ?? 0),
    paths: words.filter((word) => word !== ''),
    forceHttps: isOn(payload, 'GIT_SUBMODULE_FORCE_HTTPS'),
  };
}

const isKnownFormat = (format: string | null | undefined): boolean =>
  [undefined, null, '', 'zip', 'gzip', 'raw'].includes(format);

/** An artifact's name and paths with the job's variables in them, as gitlab-runner expands them. */
export function expandArtifact(artifact: JobArtifact, lookUp: (key: string) => string | null): JobArtifact {
  return {
    ...artifact,
    name: artifact.name ? expand(artifact.name, lookUp) : artifact.name,
    paths: artifact.paths.map((path) => expand(path, lookUp)),
    exclude: artifact.exclude.map((path) => expand(path, lookUp)),
  };
}

/** Does an artifact with this `when` go up after a job that ended so? */
export function isUploaded(when: string | null | undefined, isSuccess: boolean): boolean {
  if (when === 'always') return true;
  return when === 'on_failure' ? !isSuccess : isSuccess;
}
