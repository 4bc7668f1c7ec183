import { describe, expect, it } from 'vitest';
import { expand, variable } from '../../gitlab-bridge/practice/ci/ci-variables.ts';
import { environmentSlug, tierOf } from '../../gitlab-bridge/practice/ci/environment.ts';
import { evaluate } from '../../gitlab-bridge/practice/ci/expression.ts';
import { anyMatches } from '../../gitlab-bridge/practice/ci/globs.ts';
import type { PipelinePlan } from '../../gitlab-bridge/practice/ci/pipeline-plan.ts';
import { planPipeline } from '../../gitlab-bridge/practice/ci/pipeline-planner.ts';
import { type Known, RepositoryView, type Want } from '../../gitlab-bridge/practice/ci/repository-view.ts';

interface Repository {
  files?: Record<string, string>;
  others?: Record<string, Record<string, string>>;
  changed?: string[];
  more?: Record<string, string>;
}

const answer = (want: Want, { files = {}, others = {}, changed }: Repository): Known => {
  if (want.kind === 'changed') return changed === undefined ? { missing: 'paths' } : { paths: changed };
  const there = want.project === null ? files : others[want.project];
  if (there === undefined) return { missing: 'project' };
  if (want.kind === 'paths') return { paths: Object.keys(there) };
  const text = there[want.path];
  return text === undefined ? { missing: 'file' } : { text };
};

/** As the practice GitLab plans: what the plan turns out to hang on is looked up, and it is begun again. */
const plan = (text: string, repository: Repository = {}) => {
  const given = {
    CI_COMMIT_BRANCH: 'main',
    CI_PIPELINE_SOURCE: 'push',
    CI_PROJECT_PATH: 'root/lab',
    ...repository.more,
  };
  const known = Object.entries(given)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => variable(key, value));
  const view = new RepositoryView();
  for (let round = 0; round < 400; round += 1) {
    const result = planPipeline(text, known, view);
    if (result.kind !== 'wants') return result;
    view.tell(result.want, answer(result.want, repository));
  }
  throw new Error('no end');
};
const whole = (text: string, repository: Repository = {}): PipelinePlan => {
  const result = plan(text, repository);
  if (result.kind !== 'plan') throw new Error(JSON.stringify(result));
  return result.plan;
};
const jobs = (text: string, repository: Repository = {}) =>
  Object.fromEntries(whole(text, repository).jobs.map((job) => [job.name, job]));
const names = (text: string, repository: Repository = {}): string[] | string => {
  const result = plan(text, repository);
  return result.kind === 'plan' ? result.plan.jobs.map(({ name }) => name) : result.kind;
};
const errors = (text: string, repository: Repository = {}): string => {
  const result = plan(text, repository);
  return result.kind === 'invalid' ? result.errors.join('\n') : result.kind;
};

describe('include', () => {
  it('files of the project, nested, by a pattern and under rules; the own file wins, hashes are merged', () => {
    const files = {
      'ci/base.yml':
        'variables: {A: base, B: base}\ndefault: {image: debian}\n.t: {tags: [cpu-1]}\ninclude: /ci/more/x.yml',
      'ci/more/x.yml': 'x: {script: echo x}',
      'ci/more/deep/y.yaml': 'y: {script: echo y}',
      'ci/never.yml': 'never: {script: x}',
    };
    const text = `
include:
  - ci/base.yml
  - local: /ci/more/**/*.yaml
  - {local: ci/never.yml, rules: [{if: $CI_COMMIT_BRANCH == "other"}]}
  - {local: ci/never.yml, rules: [{exists: [nothing.txt]}]}
variables: {B: own}
a: {extends: .t, script: echo a}
x: {tags: [own]}
`;
    const found = whole(text, { files });
    expect(found.variables).toEqual([variable('A', 'base'), variable('B', 'own')]);
    expect(found.jobs.map(({ name, tags, script, image }) => [name, tags, script, image?.name])).toEqual([
      ['x', ['own'], ['echo x'], 'debian'],
      ['y', [], ['echo y'], 'debian'],
      ['a', ['cpu-1'], ['echo a'], 'debian'],
    ]);
  });

  it('files of other projects, whose own local includes are theirs', () => {
    const others = { 'root/ci': { 'one.yml': 'include: {local: two.yml}', 'two.yml': 'b: {script: x}' } };
    const text = 'include: {project: root/ci, ref: main, file: [/one.yml]}\na: {script: x}';
    expect(names(text, { others })).toEqual(['b', 'a']);
  });

  it.each<[string, string, Repository?]>([
    ['include: gone.yml\na: {script: x}', 'Local file `gone.yml` does not exist!'],
    ['include: a.txt\na: {script: x}', 'Included file `a.txt` does not have YAML extension!'],
    ['include: e.yml\na: {script: x}', 'Local file `e.yml` is empty!', { files: { 'e.yml': '\n' } }],
    ['include: w.yml\na: {script: x}', '`w.yml`: Invalid configuration format', { files: { 'w.yml': 'a: [' } }],
    ['include: {project: no/where, file: a.yml}\na: {script: x}', 'Project `no/where` not found or access denied!'],
    [
      'include: {project: root/ci, file: a.yml}\na: {script: x}',
      'Project `root/ci` file `a.yml` does not exist!',
      { others: { 'root/ci': {} } },
    ],
    ['include: r.yml\na: {script: x}', 'Maximum of 150 nested includes', { files: { 'r.yml': 'include: r.yml' } }],
    ['include: {local: a.yml, project: b, file: c.yml}\na: {script: x}', 'include needs exactly one of `local`'],
  ])('%s', (text, words, repository = {}) => {
    expect(errors(text, repository)).toContain(words);
  });
});

describe('!reference', () => {
  it('puts in lists of scripts, rules and variables, nested, also of what is extended or included', () => {
    const files = { 'l.yml': '.lib: {script: [echo lib], rules: [{if: $CI_COMMIT_BRANCH}]}' };
    const text = `
include: l.yml
.more: {extends: .lib, variables: {A: "1"}, script: [echo more, !reference [.lib, script]]}
a: {variables: !reference [.more, variables], rules: [!reference [.more, rules], {when: never}], script: [echo a, !reference [.more, script]]}
`;
    const { a } = jobs(text, { files });
    expect(a?.script).toEqual(['echo a', 'echo more', 'echo lib']);
    expect(a?.variables).toEqual([variable('A', '1')]);
  });

  it.each([
    ['a: {script: !reference [.b, script]}', '!reference [".b","script"] could not be found'],
    ['a: {script: [!reference [a, script]]}', 'is part of a circular chain'],
    ['a: {script: !reference []}', '!reference [] is not valid'],
  ])('%s', (text, words) => {
    expect(errors(text)).toContain(words);
  });

  it('lists of lists of references end', () => {
    const text = [...Array(9).keys()].map((at) => `.r${at}: {s: [${Array(9).fill(`!reference [.r${at + 1}, s]`)}]}`);
    expect(errors(`${text.join('\n')}\n.r9: {s: [x]}\na: {script: !reference [.r0, s]}`)).toContain(
      'is one of too many',
    );
  });
});

describe('only and except', () => {
  const tagged = { more: { CI_COMMIT_TAG: 'v1', CI_COMMIT_BRANCH: undefined as unknown as string } };
  it.each<[string, string[] | string, Repository?]>([
    ['a: {script: x, only: [main]}', ['a']],
    ['a: {script: x, only: [other]}', 'filtered'],
    ['a: {script: x, only: [branches]}', ['a']],
    ['a: {script: x, only: [tags]}', 'filtered'],
    ['a: {script: x, only: [pushes]}', ['a']],
    ['a: {script: x, only: [web, api, schedules, merge_requests]}', 'filtered'],
    ['a: {script: x, only: [/^ma/]}', ['a']],
    ['a: {script: x, only: [/^MA/i]}', ['a']],
    ['a: {script: x, only: [/^MA/]}', 'filtered'],
    ['a: {script: x, only: [main@root/lab]}', ['a']],
    ['a: {script: x, only: ["/^main$/@other/lab"]}', 'filtered'],
    ['a: {script: x, except: [main]}', 'filtered'],
    ['a: {script: x, except: [tags]}', ['a']],
    ['a: {script: x, only: {variables: [$CI_PROJECT_PATH == "root/lab"]}}', ['a']],
    ['a: {script: x, only: {refs: [main], variables: [$NO]}}', 'filtered'],
    ['a: {script: x, except: {refs: [other], variables: [$CI_COMMIT_BRANCH]}}', 'filtered'],
    ['a: {script: x, only: {changes: ["src/**/*"]}}', ['a'], { changed: ['src/a/b.c'] }],
    ['a: {script: x, only: {changes: ["src/**/*"]}}', 'filtered', { changed: ['README'] }],
    ['a: {script: x, only: {changes: ["src/**/*"]}}', ['a']],
  ])('%s is %s', (text, found, repository = {}) => {
    expect(names(text, repository)).toEqual(found);
  });
  it('a wrong expression is named, and branches alone are not tags', () => {
    expect(errors('a: {script: x, only: {variables: ["$A =="]}}')).toContain(
      'jobs:a:only variables invalid expression syntax',
    );
    expect(names('a: {script: x, only: [tags]}\nb: {script: x, only: [branches]}', tagged)).toEqual(['a']);
  });
});

describe('rules: changes and exists', () => {
  const files = { 'go.mod': '', 'src/a.c': '', 'texts/x/y.md': '' };
  it.each<[string, boolean, Repository?]>([
    ['{changes: ["*.md"]}', true, { changed: ['a.md'] }],
    ['{changes: ["*.md"]}', false, { changed: ['texts/a.md'] }],
    ['{changes: ["**/*.md"]}', true, { changed: ['texts/a.md'] }],
    ['{changes: ["{a,b}.{c,h}"]}', true, { changed: ['b.h'] }],
    ['{changes: {paths: [$WHAT], compare_to: main}}', true, { changed: ['x'], more: { WHAT: 'x' } }],
    ['{changes: [x]}', false, { changed: [] }],
    ['{changes: [x]}', true],
    ['{if: $NO, changes: [x]}', false],
    ['{exists: [go.mod]}', true],
    ['{exists: [gone]}', false],
    ['{exists: ["**/*.md"]}', true],
    ['{exists: ["*.c"]}', false],
    ['{exists: {paths: [Cargo.toml], project: root/rust}}', true, { others: { 'root/rust': { 'Cargo.toml': '' } } }],
  ])('%s is %s', (rule, isIn, repository = {}) => {
    const text = `a: {script: x, rules: [${rule}]}\nalways: {script: x}`;
    expect(names(text, { files, ...repository })).toEqual(isIn ? ['a', 'always'] : ['always']);
  });
  it('an unknown project or ref is an error, and workflow has them too', () => {
    expect(errors('a: {script: x, rules: [{exists: {paths: [x], project: no/no}}]}')).toContain(
      'rules:exists:project `no/no` is not a valid project path',
    );
    expect(names('workflow: {rules: [{changes: [y]}]}\na: {script: x}', { changed: ['x'] })).toBe('filtered');
  });
});

describe('file names by fnmatch', () => {
  // Each was printed by Ruby: File.fnmatch?(glob, path, File::FNM_PATHNAME | File::FNM_DOTMATCH | File::FNM_EXTGLOB).
  it.each<[string, string, boolean]>([
    ['a*', 'abc', true],
    ['a*', 'a/b', false],
    ['**', 'a/b', false],
    ['**/b', 'b', true],
    ['**/b', 'x/y/b', true],
    ['a/**/b', 'a/b', true],
    ['a/**', 'a/b/c', false],
    ['a/**/*', 'a/b/c', true],
    ['*.c', '.c', true],
    ['a?', 'ab', true],
    ['a?b', 'a/b', false],
    ['[ab]c', 'bc', true],
    ['[!ab]c', 'bc', false],
    ['[^ab]c', 'cc', true],
    ['{a,b/{c,d}}.x', 'b/d.x', true],
    ['a{', 'a{', false],
    ['\\*', '*', true],
    ['\\*', 'a', false],
    ['a[', 'a[', false],
    ['a.b+c', 'a.b+c', true],
    ['a/[.-0]b', 'a//b', false],
    ['a/**/b', 'a//b', false],
  ])('%s on %s', (glob, path, fits) => {
    expect(anyMatches([glob], [path])).toBe(fits);
  });
});

describe('a file that is made to take for ever', () => {
  const soon = <T>(what: () => T): T => {
    // What would take for ever is not done in a minute either; a machine that computes for others too needs some seconds.
    const since = performance.now();
    const found = what();
    expect(performance.now() - since).toBeLessThan(20_000);
    return found;
  };

  it('a file name of many stars, or of braces beside braces', () => {
    expect(soon(() => anyMatches([`${'*a'.repeat(8)}b`], ['a'.repeat(120)]))).toBe(false);
    expect(soon(() => anyMatches(['{a,b}'.repeat(21)], ['a'.repeat(21)]))).toBe(true);
    expect(soon(() => anyMatches([`${'{a,b}'.repeat(20)}{`], ['x']))).toBe(false);
  });

  it('variables that name each other twice', () => {
    const values = Array.from({ length: 19 }, (_, at) => [`V${at}`, `$V${at + 1}$V${at + 1}$V${at + 1}`]);
    const known = { ...Object.fromEntries(values), V19: '' } as Record<string, string>;
    expect(soon(() => expand('$V0', known)).length).toBeLessThanOrEqual(65_536);
  });

  it('a long list that is referred to again and again', () => {
    const list = `[${'x,'.repeat(3000)}x]`;
    const again = Array(3000).fill('!reference [.a, s]').join(', ');
    expect(soon(() => errors(`.a: {s: ${list}}\nb: {script: [${again}]}`))).toContain('is one of too many');
  });
});

describe('regular expressions by RE2', () => {
  const value = (text: string) => evaluate(text, { B: 'main', EMPTY: '', TWO: 'a\nmain' });
  it.each<[string, boolean]>([
    ['$B =~ /\\A(main|dev)\\z/', true],
    ['$B =~ /(?i)^MAIN$/', true],
    ['$B =~ /^\\pL+$/', true],
    ['$TWO =~ /^main$/', false],
    ['$TWO =~ /^main$/m', true],
    ['$GONE =~ /^$/', true],
  ])('%s is %s', (text, expected) => {
    expect(value(text)).toEqual({ ok: true, value: expected });
  });
  it.each(['$B =~ /ma(?=in)/', '$B =~ /(?<!x)main/', '$B =~ /(m)\\1/', '$B =~ /main\\Z/'])('%s is refused', (text) => {
    expect(value(text)).toEqual({ ok: false, because: 'invalid regular expression (GitLab runs them by RE2)' });
  });
});

describe('environment, pages, coverage, needs:parallel, reports, cache keys', () => {
  it('an environment by name or hash, its variables put in, its tier guessed', () => {
    const found = jobs(`
a: {script: x, environment: review/$CI_COMMIT_BRANCH}
b: {script: x, environment: {name: production, url: "https://x/$CI_ENVIRONMENT_SLUG", on_stop: c}}
c: {script: x, when: manual, environment: {name: production, action: stop}}
`);
    expect(found.a?.environment).toMatchObject({ name: 'review/main', action: 'start', tier: 'development' });
    expect(found.b?.environment).toMatchObject({ name: 'production', tier: 'production', onStop: 'c' });
    expect(found.c?.environment).toMatchObject({ action: 'stop' });
    expect([tierOf('qa'), tierOf('staging'), tierOf('x')]).toEqual(['testing', 'staging', 'other']);
  });

  it('slugs of environments, as GitLab makes them', () => {
    // The six last were printed by Ruby: Digest::SHA2.hexdigest(name).to_i(16).to_s(36).last(6).
    expect(environmentSlug('production')).toBe('production');
    expect(environmentSlug('review/main')).toBe('review-main-yi2y9f');
    expect(environmentSlug('1st')).toBe('env-1st-sru2wu');
    expect(environmentSlug(`a${'b'.repeat(40)}`)).toHaveLength(24);
  });

  it('a job of pages publishes its folder', () => {
    expect(jobs('pages: {script: x}').pages?.artifacts?.paths).toEqual(['public']);
    expect(jobs('a: {script: x, pages: {publish: out}, artifacts: {paths: [y]}}').a?.artifacts?.paths).toEqual([
      'y',
      'out',
    ]);
    expect(jobs('a: {script: x, pages: true, artifacts: {paths: [public]}}').a?.artifacts?.paths).toEqual(['public']);
    expect(jobs('pages: {script: x, pages: false}').pages?.artifacts).toBeNull();
  });

  it('needs some of a matrix', () => {
    const text = `
b: {stage: build, script: x, parallel: {matrix: [{A: ["1", "2"], B: x}]}}
c: {script: x, needs: [{job: b, parallel: {matrix: [{A: "2", B: x}]}}]}
`;
    expect(jobs(text).c?.needs).toEqual([{ job: 'b: [2, x]', artifacts: true }]);
    expect(errors(text.replace('A: "2"', 'A: "3"'))).toContain('undefined need: b: [3, x]');
  });

  it('reports of every type, coverage_report by its format', () => {
    const text =
      'a: {script: x, coverage: /\\d+%/, artifacts: {reports: {dotenv: a.env, sast: [s.json], coverage_report: {coverage_format: cobertura, path: c.xml}}}}';
    expect(jobs(text).a).toMatchObject({
      coverage: '/\\d+%/',
      artifacts: {
        reports: [
          { type: 'dotenv', paths: ['a.env'] },
          { type: 'sast', paths: ['s.json'] },
          { type: 'cobertura', paths: ['c.xml'] },
        ],
      },
    });
  });

  it('a cache by files without a prefix has its number and the names of the files', () => {
    const text =
      'a: {script: x, cache: [{key: k, paths: [x]}, {key: {files: [package-lock.json, go.sum]}, paths: [y]}]}';
    expect(jobs(text).a?.cache.map(({ key }) => key)).toEqual(['k', '1_package-lock_go']);
  });
});
