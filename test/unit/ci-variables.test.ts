import { describe, expect, it } from 'vitest';
import { expand, expandAll, variable } from '../../gitlab-bridge/practice/ci/ci-variables.ts';
import { durationSeconds } from '../../gitlab-bridge/practice/ci/duration.ts';

describe('variables of a job', () => {
  it('are expanded against each other, unknown names and $$ stay for the runner and the shell', () => {
    const values = expandAll([
      // biome-ignore lint/suspicious/noTemplateCurlyInString: GitLab's own form of a variable is the subject
      variable('A', '$B/${C}'),
      variable('B', 'b'),
      variable('C', 'c-$B'),
      variable('D', '$UNKNOWN $$A cost: 5$'),
      variable('E', '$A', true),
    ]);
    expect(values).toEqual({ A: 'b/c-b', B: 'b', C: 'c-b', D: '$UNKNOWN $$A cost: 5$', E: '$A' });
  });
  it('the later of a key wins, and a circle ends', () => {
    expect(expandAll([variable('A', '1'), variable('A', '2')])).toEqual({ A: '2' });
    expect(expandAll([variable('A', 'x$B'), variable('B', 'y$A')])).toEqual({ A: 'xy$A', B: 'yx$B' });
    expect(expandAll([variable('PATH', '/opt:$PATH')])).toEqual({ PATH: '/opt:$PATH' });
  });
  it('a bomb of references ends with a limit', () => {
    const bomb = Array.from({ length: 19 }, (_, at) =>
      variable(`V${at}`, at === 0 ? 'xxxxxxxxxx' : `$V${at - 1}$V${at - 1}`),
    );
    const known = Object.fromEntries(bomb.map((entry) => [entry.key, entry.value]));
    expect(expand('$V18', known).length).toBeLessThanOrEqual(65_536);
  });
});

describe('durations', () => {
  it.each([
    ['1h 30m', 5400],
    ['90', 90],
    ['90 minutes', 5400],
    ['2 hours and 20 mins', 8400],
    ['1 day', 86_400],
    ['3h30m', 12_600],
    ['1.5 hours', 5400],
    ['1 week', 604_800],
    ['soon', null],
    ['', null],
    ['5 parsecs', null],
    ['-5m', null],
  ])('%s is %s s', (text, seconds) => {
    expect(durationSeconds(text)).toBe(seconds);
  });
});
