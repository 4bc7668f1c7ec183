import { describe, expect, it } from 'vitest';
import { type Meter, type PathPattern, pathPattern, patternLimits } from '../../node/runs/path-pattern.ts';
import { pathPieces } from '../fixtures/path-pieces.ts';
import { Chance } from '../sim/chance.ts';
import { simplyMatches } from './plain-definitions.ts';

const good = (pattern: string, projectDir = ''): PathPattern => {
  const found = pathPattern(pattern, projectDir);
  if ('problem' in found) throw new Error(`${pattern} ${found.problem}`);
  return found;
};

describe('paths of artifacts', () => {
  const cases: [string, string[], string[], string[]][] = [
    ['out/', ['out'], ['out', 'out/a', 'out/b/c'], ['outer', 'x/out']],
    ['*.log', ['.'], ['a.log', '.log'], ['a/b.log', 'a.logs']],
    ['**/*.log', ['.'], ['a.log', 'x/a.log', 'x/y/a.log'], ['a.txt']],
    ['a/**/b', ['a'], ['a/b', 'a/x/b', 'a/x/y/b', 'a/b/below'], ['a/xb', 'b']],
    ['a/**', ['a'], ['a', 'a/x', 'a/x/y'], ['b']],
    ['build/{x,y}/[a-c]?.txt', ['build/x', 'build/y'], ['build/x/a1.txt', 'build/y/cz.txt'], ['build/z/a1.txt']],
    ['{a/b,c/d}/*', ['a/b', 'c/d'], ['a/b/x', 'c/d/x', 'c/d/x/below'], ['a/d/x', 'a/b']],
    ['{a,b{c,d}}e', ['ae', 'bce', 'bde'], ['ae', 'bce', 'bde'], ['be', 'abce']],
    ['x\\[1\\]\\*', ['x[1]*'], ['x[1]*'], ['x1a', 'x[1]a']],
    ['[!a-c][^x]', ['.'], ['dy', 'zz', '\u{1F600}y'], ['ay', 'dx']],
    ['[\\]a\\-z]', ['.'], [']', 'a', '-', 'z'], ['b']],
    ['?', ['.'], ['a', 'é', '\u{1F600}'], ['ab', '']],
    ['./a.b', ['a.b'], ['a.b'], ['axb']],
    ['**', ['.'], ['a', 'a/b'], []],
    ['.', ['.'], ['a', 'a/b'], []],
    ['a**b', ['.'], ['ab', 'axxb'], ['a/b']],
  ];
  it.each(cases)('%s', (pattern, roots, yes, no) => {
    const found = good(pattern);
    expect(found.roots).toEqual(roots);
    expect(yes.filter((path) => !found.takes(path))).toEqual([]);
    expect(no.filter((path) => found.takes(path))).toEqual([]);
  });

  it('excludes are not recursive', () => {
    const found = good('p/q');
    expect([found.matches('p/q'), found.matches('p/q/2.txt')]).toEqual([true, false]);
    expect(good('p/q/**/*').matches('p/q/2.txt')).toBe(true);
  });

  it('absolute patterns count when they lie in the project', () => {
    expect(good('/b/my proj', '/b/my proj').takes('a/b')).toBe(true);
    const found = good('/b/p/out/**', '/b/p');
    expect([found.roots, found.takes('out/x'), found.takes('x')]).toEqual([['out'], true, false]);
  });

  it('takes .. with the name before it, by the words alone', () => {
    for (const pattern of ['a/../b', './a/c/../../b', '/b/q/../p/b', 'b/a/..', '{a/..,a/c/../..}/b', '*/../**/../b']) {
      const found = good(pattern, '/b/p');
      expect([found.roots, found.takes('b/x'), found.takes('a/x')], pattern).toEqual([['b'], true, false]);
    }
  });

  it('never leaves the tree, and says what is wrong with a pattern', () => {
    const outside = ['../x', '/etc/passwd', 'a/../../x', '/b/pp/x', '{a,..}/x', '**/../../x', '\\.\\./x', '/b/p/../x'];
    for (const pattern of outside)
      expect(pathPattern(pattern, '/b/p')).toEqual({ problem: "is outside of the project's folder" });
    for (const pattern of ['[a', 'a]b[', '{a', 'a}', '[]', 'x\\', '[a\\]', 'a\0', '*'.repeat(65), 'a'.repeat(1025)])
      expect(pathPattern(pattern, '/b/p'), pattern).toHaveProperty('problem');
    expect(pathPattern('{a,b}'.repeat(100))).toEqual({ problem: 'stands for more than 256 alternatives' });
  });
});

describe('matching', () => {
  it('means the same as a simple matcher, on 20,000 seeded pairs', () => {
    const chance = new Chance(7);
    const draw = (words: string[], most: number): string =>
      Array.from({ length: 1 + chance.below(most) }, () => words[chance.below(words.length)]).join('');
    const wrong: string[] = [];
    let hits = 0;
    for (let round = 0; round < 20_000; round++) {
      const part = (): string =>
        chance.below(4) === 0 ? '**' : draw(['a', 'b', '*', '?', '[ab]', 'a', '.'], 4).replace(/\*+/g, '*');
      const parts = Array.from({ length: chance.below(3) }, part);
      // The last name is no `**`: what that means for folders stands in the table above.
      const pattern = [...parts, draw(['a', 'b', '?', '[ab]'], 2)].join('/');
      if (pattern.split('/').some((name) => name === '.' || name === '..')) continue;
      const path = Array.from({ length: 1 + chance.below(4) }, () => draw(['a', 'b', '.', 'ab'], 3)).join('/');
      const expected = simplyMatches(pattern, path);
      hits += expected ? 1 : 0;
      if (good(pattern).matches(path) !== expected) wrong.push(`${pattern} ${path} ${expected}`);
    }
    expect(wrong).toEqual([]);
    expect(hits).toBeGreaterThan(400);
  });

  it.each([
    ['a star an a', `${'*a'.repeat(64)}*b`.slice(2), 'a'.repeat(255)],
    ['one long name', `${'*a'.repeat(60)}b`, 'a'.repeat(4096)],
    ['chains of **/', `${'**/'.repeat(32)}b`, 'a/'.repeat(2000)],
    ['chains of **/*a', `${'**/*a/'.repeat(21)}b`, 'aaa/'.repeat(1000)],
    ['classes', `${'[a-z]*'.repeat(64)}[0-9]`, 'a'.repeat(4096)],
    ['braces', `{${'*a,'.repeat(20)}b}${'*a'.repeat(30)}b`, 'a'.repeat(1000)],
  ])('costs at most pattern times name: %s', (_, pattern, path) => {
    const meter: Meter = { steps: 0 };
    expect(good(pattern).takes(path, meter)).toBe(false);
    const alternatives = pattern.includes('{') ? 21 : 1;
    // 2: a step of the name, and the ranges of a class.
    expect(meter.steps).toBeLessThanOrEqual(2 * alternatives * (pattern.length + 1) * (path.length + 1));
  });

  it('bad input is an answer, never an exception and never a long time', () => {
    const chance = new Chance(11);
    let usable = 0;
    for (let round = 0; round < 20_000; round++) {
      const draw = (most: number): string =>
        Array.from({ length: chance.below(most) }, () => pathPieces[chance.below(pathPieces.length)]).join('');
      const found = pathPattern(draw(12), '/b/p');
      if ('problem' in found) expect(found.problem).not.toBe('');
      else {
        usable++;
        const meter: Meter = { steps: 0 };
        found.takes(draw(20), meter);
        expect(meter.steps).toBeLessThan(patternLimits.alternatives * 24 * 40);
      }
    }
    expect(usable).toBeGreaterThan(1000);
  });
});
