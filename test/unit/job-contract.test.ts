import { describe, expect, it } from 'vitest';
import {
  askingNames,
  durationMs,
  fetchFlags,
  ignoredOf,
  oddValues,
  payloadFields,
  treatmentOf,
} from '../../gitlab-bridge/job-contract.ts';
import { JobPayload } from '../../gitlab-bridge/payload.ts';
import { planSteps, unsupported } from '../../node/runs/job-script.ts';

/** Done or named (official-runner F15): nothing that a job asks for is ignored silently. */
const payload = (more: object = {}): JobPayload =>
  JobPayload.parse({
    id: 7,
    token: 'glcbt-token-of-7',
    job_info: { project_id: 1 },
    steps: [{ name: 'script', script: ['true'] }],
    ...more,
  });
const withVariable = (key: string, value: string): JobPayload => payload({ variables: [{ key, value }] });

/** GitLab's payload, field by field, as the contract (§1.3) writes it down. */
const contract: Record<string, string[]> = {
  '': ['id', 'token', 'allow_git_fetch', 'inputs', 'variables', 'run', 'hooks', 'dependencies'],
  job_info: [
    'id',
    'name',
    'stage',
    'pipeline_id',
    'project_id',
    'project_name',
    'time_in_queue_seconds',
    'queue_depth',
  ],
  git_info: [
    'repo_url',
    'repo_object_format',
    'ref',
    'sha',
    'before_sha',
    'ref_type',
    'refspecs',
    'depth',
    'protected',
  ],
  runner_info: ['timeout', 'runner_session_url', 'uuid'],
  steps: ['name', 'script', 'timeout', 'when', 'allow_failure'],
  image: [
    'name',
    'alias',
    'entrypoint',
    'command',
    'ports',
    'variables',
    'pull_policy',
    'executor_opts.docker.user',
    'executor_opts.docker.platform',
  ],
  services: [
    ...['name', 'alias', 'entrypoint', 'command', 'ports', 'variables', 'pull_policy'],
    ...['executor_opts.docker.user', 'executor_opts.docker.platform', 'executor_opts.kubernetes.user'],
  ],
  artifacts: ['name', 'untracked', 'paths', 'exclude', 'when', 'expire_in', 'artifact_type', 'artifact_format'],
  cache: ['key', 'untracked', 'policy', 'paths', 'when', 'fallback_keys', 'unprotect'],
  credentials: ['type', 'url', 'username', 'password'],
  features: ['trace_sections', 'token_mask_prefixes', 'failure_reasons', 'tracing'],
  more: ['secrets', 'policy_options', 'suspend_options'],
};
const fields = Object.entries(contract).flatMap(([group, names]) =>
  names.map((name) => (group === '' || group === 'more' ? name : `${group}.${name}`)),
);

/** Names by which GitLab's documentation lets a job speak to its runner. */
const documented = `
  GIT_STRATEGY GIT_DEPTH GIT_CHECKOUT GIT_CLEAN_FLAGS GIT_FETCH_EXTRA_FLAGS GIT_CLONE_PATH GIT_CLONE_EXTRA_FLAGS
  GIT_SUBMODULE_STRATEGY GIT_SUBMODULE_PATHS GIT_SUBMODULE_DEPTH GIT_SUBMODULE_UPDATE_FLAGS GIT_SUBMODULE_FORCE_HTTPS
  GIT_LFS_SKIP_SMUDGE GIT_USER_AGENT GET_SOURCES_ATTEMPTS ARTIFACT_DOWNLOAD_ATTEMPTS RESTORE_CACHE_ATTEMPTS
  EXECUTOR_JOB_SECTION_ATTEMPTS RUNNER_SCRIPT_TIMEOUT RUNNER_AFTER_SCRIPT_TIMEOUT RUNNER_GENERATE_ARTIFACTS_METADATA
  AFTER_SCRIPT_IGNORE_ERRORS CI_DEBUG_TRACE CI_DEBUG_SERVICES ARTIFACT_COMPRESSION_LEVEL CACHE_COMPRESSION_LEVEL
  CACHE_COMPRESSION_FORMAT CACHE_REQUEST_TIMEOUT CACHE_FALLBACK_KEY CACHE_CHUNK_SIZE CACHE_CONCURRENCY CACHE_TRANSFER_BUFFER_SIZE
  ARTIFACT_DOWNLOAD_TIMEOUT SECRETS_RETRIEVAL_ATTEMPTS TRANSFER_METER_FREQUENCY DOCKER_AUTH_CONFIG
  FF_ENABLE_BASH_EXIT_CODE_CHECK FF_SCRIPT_SECTIONS FF_USE_FASTZIP FF_TIMESTAMPS FF_NETWORK_PER_BUILD
  FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR FF_USE_NEW_BASH_EVAL_STRATEGY FF_POSIXLY_CORRECT_ESCAPES FF_SOMETHING_NEWER
`
  .trim()
  .split(/\s+/);

/** A payload in which this field asks for something. */
function asking(field: string): JobPayload {
  const build = (path: string[]): unknown => {
    const [first, ...rest] = path;
    if (first === undefined) return 'asked';
    const value = build(rest);
    const isList = ['steps', 'services', 'artifacts', 'credentials'].includes(first) && rest.length > 0;
    return { [first]: isList ? [value] : value };
  };
  const shaped: Record<string, unknown> = {
    'image.entrypoint': { image: { name: 'x', entrypoint: ['/bin/x'] } },
    hooks: { hooks: [{ name: 'pre_get_sources_script', script: ['true'] }] },
    run: { run: '[{"name":"x"}]' },
    secrets: { secrets: { A: { vault: {} } } },
  };
  return payload((shaped[field] ?? build(field.split('.'))) as object);
}

describe('what a job may ask', () => {
  it('by the fields of GitLab: each is done, refused, or named in the trace', () => {
    for (const field of fields) {
      const treatment = treatmentOf(field);
      expect(treatment, field).toBeDefined();
      if (treatment?.is === 'ignored')
        expect(ignoredOf(asking(field)).join(), field).toContain(field.split('.').at(-1));
      if (treatment?.is === 'refused') expect(unsupported(asking(field), 'docker'), field).toMatch(/does not support/);
    }
    // Nothing stands in the table that the contract does not know.
    const known = fields.map((field) => field.split('.')[0]);
    for (const field of Object.keys(payloadFields)) expect(known, field).toContain(field.split('.')[0]);
  });

  it('by the names of its documentation: each is done or named', () => {
    for (const name of documented) {
      const treatment = Object.hasOwn(askingNames, name) ? askingNames[name] : undefined;
      const said = ignoredOf(withVariable(name, '3'));
      if (treatment === undefined || treatment.is === 'ignored') expect(said, name).toEqual([name]);
      else
        expect(
          said.filter((word) => word === name),
          name,
        ).toEqual([]);
    }
  });

  it('is silent where nothing else than what is done is asked for, and loud about what is new', () => {
    for (const [name, value] of [
      ['GIT_CLEAN_FLAGS', '-ffdx'],
      ['FF_SCRIPT_SECTIONS', 'false'],
      ['ARTIFACT_COMPRESSION_LEVEL', 'default'],
      ['CI_DEBUG_SERVICES', ''],
      ['MY_OWN', '1'],
      ['constructor', '1'],
      ['__proto__', '1'],
    ] as const)
      expect(ignoredOf(withVariable(name, value)), name).toEqual([]);
    expect(ignoredOf(payload({ newer: { field: 1 }, empty: [], image: { name: 'x', command: ['a'] } }))).toEqual([
      'image.command',
      'newer',
    ]);
    expect(ignoredOf(payload({ constructor: { a: 1 } }))).toEqual(['constructor']);
  });

  it('says so when a value says nothing, and refuses a `when` that nobody knows', () => {
    expect(oddValues(withVariable('GIT_CHECKOUT', 'nope'))).toEqual(['GIT_CHECKOUT']);
    expect(oddValues(withVariable('CI_DEBUG_TRACE', 'false'))).toEqual([]);
    expect(oddValues(withVariable('RUNNER_SCRIPT_TIMEOUT', '90'))).toEqual(['RUNNER_SCRIPT_TIMEOUT']);
    const step = { name: 'script', script: ['true'], when: 'sometimes' };
    expect(unsupported(payload({ steps: [step] }), 'docker')).toContain('when: sometimes');
  });

  it('takes flags for git by name alone', () => {
    const flags = (value: string) => fetchFlags(withVariable('GIT_FETCH_EXTRA_FLAGS', value));
    expect(flags('--prune --no-tags')).toEqual({ tags: 'none', ignored: [] });
    expect(flags('--tags')).toEqual({ tags: 'all', ignored: [] });
    expect(flags('')).toEqual({ tags: 'follow', ignored: [] });
    expect(ignoredOf(withVariable('GIT_FETCH_EXTRA_FLAGS', '--upload-pack=id -q'))).toEqual([
      'GIT_FETCH_EXTRA_FLAGS --upload-pack=id',
    ]);
  });

  it('has time limits as Go writes them', () => {
    expect(['90s', '1h30m', '1.5m', '500ms'].map(durationMs)).toEqual([90_000, 5_400_000, 90_000, 500]);
    expect(['', '90', '-5s', '5 s', 's', '5x', '0s', '1h x', `${'9'.repeat(400)}h`].map(durationMs)).toEqual(
      Array(9).fill(null),
    );
    const limits = (variables: object[], timeout = 3600) =>
      planSteps(
        payload({
          variables,
          runner_info: { timeout },
          steps: [
            { name: 'script', script: [] },
            { name: 'after_script', script: [] },
          ],
        }),
      ).map(({ limitMs }) => limitMs);
    expect(limits([])).toEqual([null, 300_000]);
    expect(
      limits([
        { key: 'RUNNER_SCRIPT_TIMEOUT', value: '10s' },
        { key: 'RUNNER_AFTER_SCRIPT_TIMEOUT', value: '9h' },
      ]),
    ).toEqual([10_000, 3_600_000]);
  });
});
