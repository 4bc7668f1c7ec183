import { describe, expect, it } from 'vitest';
import { variable } from '../../gitlab-bridge/practice/ci/ci-variables.ts';
import type { PipelinePlan, PlannedJob } from '../../gitlab-bridge/practice/ci/pipeline-plan.ts';
import { planPipeline } from '../../gitlab-bridge/practice/ci/pipeline-planner.ts';

const known = [variable('CI_COMMIT_BRANCH', 'main'), variable('CI_PIPELINE_SOURCE', 'push')];
const plan = (text: string): PipelinePlan => {
  const result = planPipeline(text, known);
  if (result.kind !== 'plan') throw new Error(JSON.stringify(result));
  return result.plan;
};
const jobs = (text: string): Record<string, PlannedJob> =>
  Object.fromEntries(plan(text).jobs.map((job) => [job.name, job]));
const errors = (text: string): string => {
  const result = planPipeline(text, known);
  return result.kind === 'invalid' ? result.errors.join('\n') : `no errors: ${result.kind}`;
};

describe('a CI file as a plan', () => {
  it('stages, defaults, scripts, tags, image, services', () => {
    const found = jobs(`
default:
  image: {name: "debian:12", entrypoint: [""], pull_policy: if-not-present}
  before_script: [echo before]
  tags: [cpu-1]
  retry: {max: 1, when: [script_failure], exit_codes: 42}
stages: [one, two]
a:
  stage: one
  script: [[echo a, echo b], echo c]
  after_script: echo after
  timeout: 1h 30m
b:
  stage: two
  script: echo b
  before_script: []
  tags: []
  image: alpine
  services: [redis, {name: "postgres:16", alias: db, variables: {A: "1"}}]
  retry: 2
`);
    expect(found.a).toMatchObject({
      stage: 'one',
      stageIdx: 1,
      script: ['echo before', 'echo a', 'echo b', 'echo c'],
      afterScript: ['echo after'],
      tags: ['cpu-1'],
      timeout: 5400,
      retry: { max: 1, when: ['script_failure'], exitCodes: [42] },
      image: { name: 'debian:12', entrypoint: [''], pullPolicy: ['if-not-present'] },
      when: 'on_success',
      needs: null,
    });
    expect(found.b).toMatchObject({
      script: ['echo b'],
      tags: [],
      image: { name: 'alpine', entrypoint: null },
      services: [{ name: 'redis' }, { name: 'postgres:16', alias: 'db' }],
      retry: { max: 2, when: ['always'] },
    });
  });

  it('extends merges deeply, in order; anchors and merge keys work; hidden jobs stay hidden', () => {
    const found = jobs(`
.base: {variables: {A: base, B: base}, script: [echo base], artifacts: {paths: [x], when: always}}
.more: {variables: {B: more}, tags: [gpu]}
.anchor: &anchor {timeout: 10m}
job:
  <<: *anchor
  extends: [.base, .more]
  variables: {C: own}
  artifacts: {paths: [y]}
`);
    expect(Object.keys(found)).toEqual(['job']);
    expect(found.job?.variables.map(({ key, value }) => [key, value])).toEqual([
      ['A', 'base'],
      ['B', 'more'],
      ['C', 'own'],
    ]);
    expect(found.job).toMatchObject({ tags: ['gpu'], timeout: 600, artifacts: { paths: ['y'], when: 'always' } });
  });

  it('inherit limits defaults and variables', () => {
    const found = jobs(`
variables: {G: "1", H: "2"}
default: {tags: [cpu-1], timeout: 5m}
a: {script: x, inherit: {default: [timeout], variables: [G]}}
b: {script: x, inherit: {default: false, variables: false}}
`);
    expect(found.a).toMatchObject({ tags: [], timeout: 300, inheritVariables: ['G'] });
    expect(found.b).toMatchObject({ tags: [], timeout: null, inheritVariables: false });
  });

  it('parallel makes numbered jobs and a matrix; needs follow', () => {
    const found = jobs(`
a: {stage: build, script: x, parallel: 2}
b: {stage: build, script: x, tags: ["\${ARCH}"], parallel: {matrix: [{ARCH: [amd64, arm64], KIND: [fast]}]}}
c: {stage: test, script: x, needs: [a, "b: [amd64, fast]"], dependencies: [a]}
`);
    expect(Object.keys(found)).toEqual(['a 1/2', 'a 2/2', 'b: [amd64, fast]', 'b: [arm64, fast]', 'c']);
    expect(found['b: [arm64, fast]']?.tags).toEqual(['arm64']);
    expect(found['a 2/2']?.variables).toContainEqual(variable('CI_NODE_INDEX', '2'));
    expect(found.c?.needs?.map((need) => need.job)).toEqual(['a 1/2', 'a 2/2', 'b: [amd64, fast]']);
    expect(found.c?.dependencies).toEqual(['a 1/2', 'a 2/2']);
  });

  it('rules decide presence, when, allow_failure and variables', () => {
    const found = jobs(`
variables: {MODE: full}
a: {script: x, rules: [{if: $CI_COMMIT_BRANCH == "main", variables: {FROM: rule}, allow_failure: true}]}
b: {script: x, rules: [{if: $CI_COMMIT_BRANCH == "other"}]}
c: {script: x, rules: [{if: $MODE == "full", when: manual}, {when: never}]}
d: {script: x, when: always, rules: [{if: $NOTHING, when: never}, {when: on_failure}]}
e: {script: x, when: manual}
f: {script: x, when: never}
`);
    expect(Object.keys(found)).toEqual(['a', 'c', 'd', 'e']);
    expect(found.a).toMatchObject({ allowFailure: true, variables: [variable('FROM', 'rule')] });
    expect(found.c).toMatchObject({ when: 'manual', allowFailure: false });
    expect(found.d?.when).toBe('on_failure');
    expect(found.e).toMatchObject({ when: 'manual', allowFailure: true });
  });

  it('workflow rules filter a pipeline or add variables', () => {
    const filtered = planPipeline('workflow: {rules: [{if: $CI_COMMIT_TAG}]}\na: {script: x}', known);
    expect(filtered).toEqual({ kind: 'filtered', because: 'Pipeline filtered out by workflow rules.' });
    const kept = plan('workflow: {rules: [{if: $CI_COMMIT_BRANCH, variables: {W: "1"}}]}\na: {script: x}');
    expect(kept.variables).toContainEqual(variable('W', '1'));
    expect(planPipeline('a: {script: x, rules: [{when: never}]}', known).kind).toBe('filtered');
  });

  it('allow_failure by exit code, optional needs, cache, artifacts with junit', () => {
    const found = jobs(`
a: {stage: build, script: x, allow_failure: {exit_codes: [3, 4]}, artifacts: {reports: {junit: out.xml}, exclude: [tmp], paths: [out], expire_in: 1 week}}
b: {script: x, needs: [{job: a, artifacts: false}, {job: gone, optional: true}], cache: {key: k, paths: [c], policy: pull}}
`);
    expect(found.a).toMatchObject({ allowFailure: false, allowFailureExitCodes: [3, 4] });
    expect(found.a?.artifacts).toMatchObject({
      reports: [{ type: 'junit', paths: ['out.xml'] }],
      exclude: ['tmp'],
      expireIn: '1 week',
    });
    expect(found.b?.needs).toEqual([{ job: 'a', artifacts: false }]);
    expect(found.b?.cache).toMatchObject([{ key: 'k', policy: 'pull', untracked: false }]);
  });
});

describe('what is wrong or lacking fails by name', () => {
  it.each([
    ['a: {script: x, resource_group: r}', 'jobs:a:resource_group'],
    ['a: {trigger: other/project}', 'jobs:a:trigger'],
    ['a: {script: x, when: delayed, start_in: 1h}', 'jobs:a:when:delayed'],
    ['a: {script: x, id_tokens: {T: {aud: x}}}', 'jobs:a:id_tokens'],
    ['a: {script: x, artifacts: {access: none}}', 'jobs:a:artifacts:access'],
    ['a: {script: x, environment: {name: x, kubernetes: {agent: x}}}', 'jobs:a:environment:kubernetes'],
    ['a: {script: x, only: {kubernetes: active}}', 'jobs:a:only:kubernetes'],
    ['a: {script: x, needs: [{pipeline: $P, job: b}]}', 'jobs:a:needs:pipeline'],
    ['include: https://example.org/ci.yml\na: {script: x}', 'include:remote'],
    ['include: {template: Go.gitlab-ci.yml}\na: {script: x}', 'include:template'],
    ['include: [{component: x/y/z@1}]\na: {script: x}', 'include:component'],
    ['include: [{local: x.yml, inputs: {a: b}}]\na: {script: x}', 'include:inputs'],
    ['spec: {inputs: {a: {}}}\n---\na: {script: x}', 'spec (a header before `---`)'],
    ['a: {script: !vault x}', '!vault'],
  ])('%s', (text, name) => {
    expect(errors(text)).toContain(`${name} is a`);
    expect(errors(text)).toContain('practice GitLab lacks');
  });

  it.each([
    ['a: {script: x, scirpt: y}', 'jobs:a config contains unknown keys: scirpt'],
    ['a: {stage: nowhere, script: x}', 'chosen stage nowhere does not exist; available stages are .pre, build, test'],
    ['a: {stage: test}', 'jobs:a config should implement the script:'],
    ['.hidden: {script: x}', 'jobs config should contain at least one visible job'],
    ['a: {script: x, retry: 5}', 'jobs:a:retry'],
    ['a: {script: x, timeout: eternal}', 'jobs:a:timeout should be a duration'],
    ['a: {script: x, needs: [b]}', 'a job: undefined need: b'],
    [
      'a: {stage: build, script: x, needs: [b]}\nb: {stage: test, script: x}',
      'is not defined in current or prior stages',
    ],
    ['a: {script: x, needs: [b]}\nb: {script: x, needs: [a]}', 'circular dependencies'],
    ['a: {script: x, extends: .b}', 'unknown keys in `extends` (.b)'],
    ['.a: {extends: .b}\n.b: {extends: .a}\nc: {script: x, extends: .a}', 'circular dependency detected in `extends`'],
    ['a: {script: x, rules: [{if: "$A =="}]}', 'jobs:a:rules invalid expression syntax'],
    ['a: {script: x, needs: [b]}\nb: {stage: build, script: x, rules: [{when: never}]}', "'a' job needs 'b' job"],
    ['a: 5', 'jobs:a config should be a hash'],
    ['- a', 'Invalid configuration format'],
    ['a: {script: [x', 'Invalid configuration format'],
    ['', 'Invalid configuration format'],
    ['a: {script: {b: c}}', 'jobs:a:script should be a string or a nested array'],
    [
      'a: {script: x, parallel: {matrix: [{A: ["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15"], B: ["1","2","3","4","5","6","7","8","9","10","11","12","13","14"]}]}}',
      'jobs:a:parallel:matrix config generates too many jobs (maximum is 200)',
    ],
    [
      `a: {script: x}\nb: {script: x, needs: [{job: a, parallel: {matrix: [{A: [${Array(201).fill('x')}]}]}}]}`,
      'jobs:b:needs:need:parallel:matrix config generates too many jobs (maximum is 200)',
    ],
    [
      Array.from({ length: 2_000 }, (_, i) => `j${i}: {script: x, parallel: 200}`).join('\n'),
      'The pipeline has 400000 jobs (maximum is 500)',
    ],
  ])('%s', (text, words) => {
    expect(errors(text)).toContain(words);
  });

  it('a YAML bomb is refused, not expanded', () => {
    const bomb = [
      'a0: &a0 [x,x,x,x,x,x,x,x,x,x]',
      ...Array.from({ length: 9 }, (_, at) => `a${at + 1}: &a${at + 1} [${Array(10).fill(`*a${at}`).join(',')}]`),
    ];
    expect(errors(bomb.join('\n'))).toContain('Invalid configuration format');
  });
  it('prototype names are only names', () => {
    expect(errors('a: {script: x, extends: __proto__}')).toContain('unknown keys in `extends`');
    expect(errors('a: {script: x, extends: constructor}')).toContain('unknown keys in `extends`');
    expect(Object.keys(jobs('constructor: {script: x}'))).toEqual(['constructor']);
    expect(errors('__proto__: {script: x}')).toContain('__proto__');
    expect(errors('a: {script: x, variables: {__proto__: y}}')).toContain('__proto__');
    expect(errors('a: {script: x, timeout: 5 constructor}')).toContain('should be a duration');
    expect(jobs('a: {script: x, tags: [$constructor], rules: [{if: $constructor == null}]}').a?.tags).toEqual([
      '$constructor',
    ]);
  });
});
