import { describe, expect, it, vi } from 'vitest';
import { Mask } from '../../gitlab-bridge/mask.ts';
import { FrameReader, type LogPiece, StepSplitter, stepMarks } from '../../node/executors/docker-log.ts';
import { type Meter, pathPattern, patternLimits } from '../../node/runs/path-pattern.ts';
import { pathPieces } from '../fixtures/path-pieces.ts';
import type { Chance } from '../sim/chance.ts';
import { simplyMasked, simplyMatches } from '../unit/plain-definitions.ts';
import { fuzzRounds, fuzzTimeoutMs, least } from './fuzz-rounds.ts';

const draw = (chance: Chance, words: readonly string[], most: number): string =>
  Array.from({ length: chance.below(most + 1) }, () => chance.pick(words)).join('');

/** `{a,b{c,d}}` written out; only for patterns without a `\` and with braces that fit. */
function alternatives(pattern: string): string[] {
  const open = pattern.indexOf('{');
  if (open < 0) return [pattern];
  const parts: string[] = [''];
  let depth = 0;
  let at = open + 1;
  for (; depth > 0 || pattern[at] !== '}'; at++) {
    const letter = pattern[at] as string;
    if (letter === ',' && depth === 0) parts.push('');
    else parts[parts.length - 1] += letter;
    depth += letter === '{' ? 1 : letter === '}' ? -1 : 0;
  }
  return parts.flatMap((part) => alternatives(pattern.slice(0, open) + part + pattern.slice(at + 1)));
}

function patternOfChance(chance: Chance, depth = 0): string {
  const plain = ['a', 'b', '?', '[ab]', 'a', '.', '*'];
  const part = (): string => {
    if (depth < 2 && chance.below(6) === 0) {
      const inner = Array.from({ length: 1 + chance.below(3) }, () => patternOfChance(chance, depth + 1));
      return `{${inner.join(',')}}`;
    }
    return `${chance.pick(['a', 'b', '*', '?'])}${draw(chance, plain, 2)}`.replace(/\*+/g, '*');
  };
  const parts = Array.from({ length: chance.below(3) }, () => (chance.below(4) === 0 ? '**' : part()));
  return [...parts, part()].join('/');
}

describe('fuzz', () => {
  it('a round that fails names its seed, and that seed alone is repeated with the same chance', async () => {
    const drawn: number[] = [];
    const round = (chance: Chance): void => {
      drawn.push(chance.below(1_000_000));
      if (drawn.length === 3) throw new Error('odd');
    };
    await expect(fuzzRounds('this', 5, round)).rejects.toThrow(
      /fuzz of this, seed 3 \(again: AUTOGIT_FUZZ_SEED=3 .*: odd/,
    );
    vi.stubEnv('AUTOGIT_FUZZ_SEED', '3');
    expect(await fuzzRounds('this', 5, (chance) => drawn.push(chance.below(1_000_000)))).toBe(1);
    vi.unstubAllEnvs();
    expect(drawn).toHaveLength(4);
    expect(drawn[3]).toBe(drawn[2]);
  });

  it(
    'patterns: mean what the plain definition says, whatever they are made of, at a bounded cost',
    async () => {
      let hits = 0;
      let refused = 0;
      await fuzzRounds('patterns', 8, (chance) => {
        const pattern = patternOfChance(chance);
        const found = pathPattern(pattern);
        const path = Array.from({ length: 1 + chance.below(4) }, () =>
          chance.pick(['a', 'b', 'ab', 'ba.', 'a.b']),
        ).join('/');
        const all = alternatives(pattern);
        // What `**` as a last name, or `.`, means for folders stands in the table of the unit test.
        const isPlain = all.every(
          (one) => !one.split('/').some((name) => ['.', '..', ''].includes(name) || /\*\*./.test(name)),
        );
        if ('problem' in found) refused++;
        else if (isPlain) {
          const expected = all.some((one) => simplyMatches(one, path));
          hits += expected ? 1 : 0;
          expect([pattern, path, found.matches(path)]).toEqual([pattern, path, expected]);
        }
        const rubbish = pathPattern(draw(chance, pathPieces, 14), '/b/p');
        if ('problem' in rubbish) return expect(rubbish.problem).not.toBe('');
        const meter: Meter = { steps: 0 };
        rubbish.takes(draw(chance, pathPieces, 24), meter);
        expect(meter.steps).toBeLessThan(patternLimits.alternatives * 28 * 48);
      });
      expect(hits).toBeGreaterThanOrEqual(least(200));
      expect(refused).toBeLessThan(hits + 100);
    },
    fuzzTimeoutMs(8),
  );

  it(
    "trace marks: a step is its own bytes and its own end, whatever a job prints, however the engine's frames are cut",
    async () => {
      const nonce = 'cd'.repeat(16);
      const rounds = await fuzzRounds('trace marks', 10, (chance) => {
        const [before, mine, after] = [0, 1, 2].map((index) => stepMarks(nonce, index)) as [
          ReturnType<typeof stepMarks>,
          ReturnType<typeof stepMarks>,
          ReturnType<typeof stepMarks>,
        ];
        const words = [
          ...[before, mine, after].flatMap(({ begin, end }) => [begin, end, `${begin}\n`, `${end} 0\n`, `${end}\n`]),
          mine.end.slice(0, 1 + chance.below(47)),
          mine.end.slice(chance.below(47)),
          ...[
            ' ',
            ' 1',
            ' 12',
            '3',
            '\n',
            '\r\n',
            '\0',
            '\xff',
            'a',
            'autogit-',
            ' 1234\n',
            'x'.repeat(chance.below(300)),
          ],
        ];
        const isOver = (text: string): boolean => new RegExp(`${mine.end} \\d{1,3}\\n`).test(text);
        let own = draw(chance, words, 12);
        // The word of its end is the one thing that a job does not know before it is there.
        while (isOver(own) || isOver(`${own}${mine.end} 7\n`.slice(0, -1))) own = own.replace(mine.end, '');
        const exit = chance.below(256);
        const text = `${draw(chance, ['left over', '\n', before.end, ' 0\n'], 4)}\n${mine.begin}\n${own}${mine.end} ${exit}\n${draw(chance, words, 5)}`;
        const pieces = splitFrames(chance, Buffer.from(text, 'latin1'), mine);
        const bytes = Buffer.concat(pieces.flatMap((piece) => (piece.kind === 'bytes' ? [piece.bytes] : [])));
        expect(bytes.toString('latin1')).toBe(own);
        expect(pieces.filter(({ kind }) => kind !== 'bytes')).toEqual([
          { kind: 'begin', index: 1 },
          { kind: 'end', index: 1, exitCode: exit },
        ]);
      });
      expect(rounds).toBeGreaterThan(least(100));
    },
    fuzzTimeoutMs(10),
  );

  it(
    'masks: every byte of a secret stands under a mark, however the trace is cut, and nothing else does',
    async () => {
      const pool = ['abab', 'ababb', 'bbaab', 'xaab-1', 'glpat-abab', 'aaaa', 'é€-secret', '----', 'tok-tok-tok-'];
      const words = [
        'a',
        'b',
        'ab',
        'aab',
        'x',
        '-',
        '1',
        'tok-',
        'glpat-',
        ' ',
        '\n',
        'é€-',
        'secret',
        'glp',
        ...pool,
      ];
      await fuzzRounds('masks', 6, (chance) => {
        const secrets = pool.filter(() => chance.maybe(0.5));
        const text = draw(chance, words, 24);
        const mask = new Mask(secrets, ['tok-']);
        const bytes = Buffer.from(text);
        const out: Buffer[] = [];
        for (let at = 0; at < bytes.length; ) {
          const size = 1 + chance.below(7);
          out.push(mask.push(bytes.subarray(at, at + size)));
          at += size;
        }
        out.push(mask.flush());
        expect(Buffer.concat(out).toString()).toBe(simplyMasked(text, secrets, ['tok-', 'glpat-']));
      });
    },
    fuzzTimeoutMs(6),
  );
});

/** As the engine sends it: frames of any length, standard error between them, chunks that end anywhere. */
function splitFrames(chance: Chance, bytes: Buffer, marks: ReturnType<typeof stepMarks>): LogPiece[] {
  const frames: Buffer[] = [];
  const frame = (stream: number, payload: Buffer): void => {
    const head = Buffer.alloc(8);
    head[0] = stream;
    head.writeUInt32BE(payload.length, 4);
    frames.push(head, payload);
  };
  for (let at = 0; at < bytes.length; ) {
    const size = chance.below(60);
    frame(1, bytes.subarray(at, at + size));
    if (chance.maybe(0.2)) frame(2, Buffer.from(`${marks.end} 9\n`));
    at += size;
  }
  const whole = Buffer.concat(frames);
  const reader = new FrameReader();
  const splitter = new StepSplitter();
  splitter.expect(1, marks);
  const pieces: LogPiece[] = [];
  for (let at = 0; at < whole.length; ) {
    const size = 1 + chance.below(90);
    for (const payload of reader.push(whole.subarray(at, at + size))) pieces.push(...splitter.push(payload));
    at += size;
  }
  return [...pieces, ...splitter.flush()];
}
