import { describe, expect, it } from 'vitest';
import { variable } from '../../gitlab-bridge/practice/ci/ci-variables.ts';
import { readConfig } from '../../gitlab-bridge/practice/ci/config-file.ts';
import { planPipeline } from '../../gitlab-bridge/practice/ci/pipeline-planner.ts';

const read = (written: string): unknown => {
  const found = readConfig(`a: ${written}`);
  return 'config' in found ? found.config.a : found.errors[0];
};

describe('scalars as Psych reads them', () => {
  // Each right side was printed by Ruby 3.1: YAML.safe_load(text, permitted_classes: [Symbol], aliases: true).
  it.each<[string, unknown]>([
    ['0755', 493],
    ['1_000', 1000],
    ['1,000', 1000],
    ['0,7', 7],
    ['07,1', 57],
    ['1__0', '1__0'],
    ['0_1', 1],
    ['00', 0],
    ['08', '08'],
    ['0o17', '0o17'],
    ['0x1F', 31],
    ['-0x1f', -31],
    ['0x', '0x'],
    ['0b11', 3],
    ['0b', '0b'],
    ['+5', 5],
    ['12:30', 45_000],
    ['1:2:3', 3723],
    ['1:60', '1:60'],
    ['100:59', 363_540],
    ['12:30:15.25', 45_015.25],
    ['1.5', 1.5],
    ['1.', 1],
    ['.', '.'],
    ['.5e+3', 500],
    ['1.0e5', '1.0e5'],
    ['1e5', '1e5'],
    ['12e03', '12e03'],
    ['685_230.15', 685_230.15],
    ['1,2,3.5', 123.5],
    ['0.1.2', '0.1.2'],
    ['1-2', '1-2'],
    ['-.inf', Number.NEGATIVE_INFINITY],
    ['+.inf', Number.POSITIVE_INFINITY],
    ['.NaN', Number.NaN],
    ['yes', true],
    ['YeS', true],
    ['On', true],
    ['off', false],
    ['y', 'y'],
    ['n', 'n'],
    ['nUll', null],
    ['~', null],
    ['""', ''],
    ['"yes"', 'yes'],
    ["'0755'", '0755'],
    ['=', '='],
    ['2024-13-45', '2024-13-45'],
    ['!!int "5"', 5],
    ['!!str 5', '5'],
    [':foo', 'foo'],
  ])('%s is %s', (written, value) => {
    expect(read(written)).toEqual(value);
  });

  it.each(['2024-01-01', '2024-01-01 10:00:00', '2001-01-01T00:00:00Z'])(
    '%s is refused by GitLab itself',
    (written) => {
      expect(read(written)).toMatch(/Tried to load unspecified class: (Date|Time)/);
    },
  );

  it('keys too: a job that is called on is true', () => {
    expect(readConfig('on: {script: x}\n012: y')).toEqual({ config: { true: { script: 'x' }, 10: 'y' } });
  });

  it('what is wrong has its line', () => {
    expect(readConfig('a:\n  script: [x\nb: y')).toEqual({ errors: [expect.stringMatching(/line 3, column 1/)] });
  });
});

const known = [variable('CI_COMMIT_BRANCH', 'main'), variable('CI_PIPELINE_SOURCE', 'push')];
const outcome = (text: string): string => {
  const result = planPipeline(text, known);
  return result.kind === 'invalid' ? result.errors.join('\n') : result.kind;
};
const job = (text: string) => {
  const result = planPipeline(text, known);
  if (result.kind !== 'plan') throw new Error(JSON.stringify(result));
  return result.plan.jobs[0];
};

describe('what GitLab accepts', () => {
  it.each([
    'variables:\na: {script: x}',
    'variables: {A: }\na: {script: x, image: , tags: , variables: {B: }, artifacts: {paths: [x], expire_in: }}',
    'default: {image: , cache: }\na: {script: x, services: [{name: redis, alias: , variables: {A: }}]}',
    'a: {script: x, stage: test, needs: [], dependencies: [b]}\nb: {stage: build, script: x}',
    'a: {script: x, cache: {key: k, paths: [x], policy: $POLICY}}',
    'a: {script: x, variables: {A-B: x, "c.d": y}}',
    'a: {script: [[[[[[[[[[x]]]]]]]]]]}',
    'a: {script: x, artifacts: {paths: [x], expire_in: 3600}}',
  ])('%s', (text) => {
    expect(outcome(text)).toBe('plan');
  });

  it('a null is an empty variable, and takes away what was extended', () => {
    expect(job('.b: {image: debian}\na: {script: x, extends: .b, image: , variables: {A: }}')).toMatchObject({
      image: null,
      variables: [variable('A', '')],
    });
  });

  it('a cache policy may be a variable', () => {
    const found = job('variables: {POLICY: pull}\na: {script: x, cache: {key: k, paths: [x], policy: $POLICY}}');
    expect(found?.cache[0]?.policy).toBe('pull');
  });
});

describe('what GitLab refuses, by its place and with what it should be', () => {
  it.each([
    ['variables: {A: yes}\na: {script: x}', 'variables:A variable definition must be either a string or a hash'],
    ['a: {script: x, variables: {A: 1.5}}', 'jobs:a:variables:A variable definition must be either'],
    ['a: {script: true}', 'jobs:a:script should be a string or a nested array'],
    ['a: {script: [5]}', 'jobs:a:script should be a string or a nested array'],
    ['a: {script: [[[[[[[[[[[x]]]]]]]]]]]}', 'jobs:a:script should be a string or a nested array'],
    ['a: {script: x, cache: {key: k, paths: 5}}', 'jobs:a:cache:paths'],
    ['a: {script: x, cache: {kee: k}}', 'jobs:a:cache config contains unknown keys: kee'],
    ['a: {script: x, cache: 5}', 'jobs:a:cache should be a hash or an array'],
    ['a: {script: x, needs: [{jobb: b}]}', 'jobs:a:needs:need:job'],
    ['a: {script: x, image: {nam: b}}', 'jobs:a:image:name'],
    ['a: {script: x, image: [b]}', 'jobs:a:image should be a string or a hash'],
    ['a: {script: x, variables: x}', 'jobs:a:variables should be a hash of key value pairs'],
    ['a: {script: x, coverage: "(("}', 'jobs:a:coverage config must be a regular expression'],
    ['a: {script: x, rules: [{if: $A}], only: [main]}', 'jobs:a config key may not be used with `rules`: only'],
    ['a: {script: x, only: 5}', 'jobs:a:only has to be either an array of conditions or a hash'],
    [
      'a: {script: x, artifacts: {reports: {junitt: x}}}',
      'jobs:a:artifacts:reports config contains unknown keys: junitt',
    ],
    ['a: {script: x, environment: {name: x, on_stop: b}}', 'a job: on_stop job b is not defined'],
  ])('%s', (text, words) => {
    expect(outcome(text)).toContain(words);
  });
});
