import { afterEach, describe, expect, it } from 'vitest';
import { plainText, RunLab } from './run-lab.ts';

let lab: RunLab;
afterEach(() => lab.stop());

const ci = `
stages: [build, test, deploy]
variables:
  GREETING: hello
build:
  stage: build
  before_script:
    - echo "$GREETING from $CI_PROJECT_DIR"
  script:
    - echo "sources $(cat data.txt) $(git rev-parse --short=8 HEAD)"
    - |
      mkdir -p out/deep
      echo built > out/deep/a.txt
      echo left > out/no.tmp
      ln -s deep/a.txt out/link
    - echo "token $CI_JOB_TOKEN"
    - git fetch -q origin main && git status --short
    - grep -r "$CI_JOB_TOKEN" .git || echo "no token in the tree"
  after_script:
    - echo "after $CI_JOB_STATUS"
  artifacts:
    paths: [out/, "*.none"]
    exclude: ["out/**/*.tmp"]
test:
  stage: test
  script:
    - cat out/deep/a.txt out/link
    - test ! -e out/no.tmp
    - echo '<testsuite/>' > report.xml
    - exit 7
  after_script:
    - echo "after $CI_JOB_STATUS"; exit 3
  artifacts:
    reports: { junit: report.xml }
`;

describe('a whole run', () => {
  it('fetches, runs, hands artifacts on, masks, and tells GitLab the truth', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': ci, 'data.txt': 'of the tree' });
    await lab.agent();
    const build = await lab.begin();
    expect(build).toMatchObject({ state: 'taken', name: 'build', ref: 'main', projectId: lab.projectId });
    const ended = await lab.ended(build);
    const trace = await lab.traceAt(build);
    expect(ended, trace).toMatchObject({ state: 'delivered', result: { state: 'success', exitCode: 0 } });
    expect(lab.changes.map((run) => run.state)).toEqual(['taken', 'running', 'finished', 'delivered']);
    expect(lab.gitlab.job(build.job)).toMatchObject({ status: 'success' });
    const text = plainText(trace);
    expect(text).toContain('Running with autogit-node 0.1.0 on kang\n');
    expect(text).toMatch(/hello from \/.*\/root\/sample\n/);
    expect(text).toMatch(/sources of the tree [0-9a-f]{8}\n/);
    expect(text).toContain('$ echo "token $CI_JOB_TOKEN"\ntoken [MASKED]\n');
    expect(text).toContain('git status --short\n?? out/\n');
    expect(text).toContain('\nno token in the tree\n');
    expect(text).toContain('after success\n');
    expect(text).toContain('WARNING: *.none: no matching files\n');
    expect(text).toMatch(/Job succeeded\n$/);
    expect(await lab.traceHere(build)).toBe(trace);

    const test = await lab.begin();
    const failed = await lab.ended(test);
    const second = plainText(await lab.traceAt(test));
    expect(failed, second).toMatchObject({
      state: 'delivered',
      result: { state: 'failed', exitCode: 7, reason: 'script_failure' },
    });
    expect(second).toContain('built\nbuilt\n');
    expect(second).toContain('after failed\n');
    expect(second).toContain('WARNING: after_script failed, but job will continue unaffected: exit code 3\n');
    expect(second).toMatch(/ERROR: Job failed: exit code 7\n$/);
    expect(lab.gitlab.job(test.job)).toMatchObject({ status: 'failed', failureReason: 'script_failure' });
  });
});
