import { describe, expect, it } from 'vitest';
import { NewcomerQuestions, wordsToCompare } from '../../node/agent/newcomer-questions.ts';
import { createProgress, progressLine } from '../../node/progress-lines.ts';
import type { Change } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

const ledgerWith = (approvals: Record<string, [name: string, words: string, ignored?: boolean]>): Ledger => ({
  ...foundedMesh(),
  approvals: Object.fromEntries(
    Object.entries(approvals).map(([node, [name, words, ignored = false]]) => [
      node,
      { name, words, ignored, address: '10.0.0.9', since: 0, via: 'K', store: 's', addresses: [], witness: false },
    ]),
  ),
});

/** A terminal whose person answers when the test says so. */
function terminal(options: { quiet?: boolean } = {}) {
  const questions: { text: string; answer(yes: boolean): void; withdrawn: boolean }[] = [];
  const changes: Change[] = [];
  let screen = '';
  let now = 0;
  const newcomers = new NewcomerQuestions({
    lines: createProgress({
      color: false,
      quiet: options.quiet ?? false,
      stream: { write: (text) => (screen += text) },
    }),
    confirm: (text, signal) =>
      new Promise((resolve, reject) => {
        const question = { text, answer: resolve, withdrawn: false };
        questions.push(question);
        signal.addEventListener('abort', () => {
          question.withdrawn = true;
          reject(signal.reason);
        });
      }),
    change: async (change) => {
      changes.push(change);
      return { state: 'done', because: 'it is in the mesh' };
    },
    by: 'kang',
    now: () => now,
  });
  const see = async (ledger: Ledger): Promise<void> => {
    newcomers.onLedger(ledger);
    await settle();
  };
  const settle = () => new Promise((resolve) => setTimeout(resolve, 1));
  const answer = async (yes: boolean, afterMs = 5000): Promise<void> => {
    now += afterMs;
    questions.at(-1)?.answer(yes);
    await settle();
  };
  return { questions, changes, see, answer, screen: () => screen };
}

const two = { L: ['laptop', 'a-a-a-a'], S: ['stranger', 'b-b-b-b'] } as Parameters<typeof ledgerWith>[0];

describe('questions about newcomers', () => {
  it('are asked one at a time; one yes lets in that machine and no other', async () => {
    const { questions, changes, see, answer } = terminal();
    await see(ledgerWith(two));
    expect(questions.map(({ text }) => text)).toEqual(['Does laptop (10.0.0.9) show   a-a-a-a ?']);
    await answer(true);
    expect(changes).toEqual([{ kind: 'approve', node: 'L', words: 'a-a-a-a', because: 'by kang' }]);
    expect(questions.map(({ text }) => text)[1]).toBe('Does stranger (10.0.0.9) show   b-b-b-b ?');
    await answer(false);
    expect(changes).toHaveLength(1);
    await see(ledgerWith(two));
    expect(questions).toHaveLength(2);
  });

  it('that come while one is asked about wait for its answer, which lets in nobody else (newcomer B1)', async () => {
    const { questions, changes, see, answer } = terminal();
    await see(ledgerWith({ L: ['laptop', 'a-a-a-a'] }));
    for (let again = 0; again < 3; again++) await see(ledgerWith(two));
    expect(questions.map(({ text }) => text)).toEqual(['Does laptop (10.0.0.9) show   a-a-a-a ?']);
    await answer(true);
    expect(changes).toMatchObject([{ node: 'L', words: 'a-a-a-a' }]);
    expect(questions).toHaveLength(2);
  });

  it('show the words in the question itself: -q prints nothing else', async () => {
    const { questions, see, screen } = terminal({ quiet: true });
    await see(ledgerWith(two));
    expect(screen()).toBe('');
    expect(questions[0]?.text).toContain('a-a-a-a');
  });

  it('are withdrawn when another terminal answered, and no answer of here counts for it', async () => {
    const { questions, changes, see, screen } = terminal();
    await see(ledgerWith(two));
    const without = ledgerWith({ S: ['stranger', 'b-b-b-b'] });
    const { K } = without.nodes;
    await see({
      ...without,
      nodes: { ...without.nodes, L: { ...(K as never as object), name: 'laptop' } as typeof K & {} },
    });
    expect(questions[0]?.withdrawn).toBe(true);
    expect(screen()).toContain('laptop is in the mesh already: approved from another terminal');
    expect(questions).toHaveLength(2);
    expect(changes).toEqual([]);
  });

  it('are withdrawn when it gave up, was ignored, or shows other words, which are asked about anew', async () => {
    const { questions, changes, see, answer, screen } = terminal();
    await see(ledgerWith({ L: ['laptop', 'a-a-a-a'] }));
    await see(ledgerWith({ L: ['laptop', 'c-c-c-c'] }));
    expect(questions.map(({ text, withdrawn }) => [text.includes('c-c-c-c'), withdrawn])).toEqual([
      [false, true],
      [true, false],
    ]);
    expect(screen()).toContain('laptop knocked again and shows other words now');
    await answer(true);
    expect(changes).toMatchObject([{ words: 'c-c-c-c' }]);
    await see(ledgerWith(two));
    await see(ledgerWith({ L: ['laptop', 'a-a-a-a', true], S: two.S as never }));
    expect(screen()).toContain('laptop was ignored from another terminal');
    await see(ledgerWith({}));
    expect(screen()).toContain('stranger waits no more');
  });

  it('do not take what was typed for the question before: nobody reads four words at once', async () => {
    const { questions, changes, see, answer } = terminal();
    await see(ledgerWith(two));
    await answer(true);
    await answer(true, 50);
    expect(changes).toHaveLength(1);
    expect(questions.map(({ text }) => text.includes('stranger'))).toEqual([false, true, true]);
  });
});

it.each([40, 60, 80, 200])(
  'at %i columns the newcomer shows its words, and what to type, each whole on a line of its own',
  (columns) => {
    const words = 'cedar-jungle-maple-north';
    const lines = progressLine('wait', 'approval', wordsToCompare('desktop-1', words), { columns }).split('\n');
    expect(lines.map((line) => line.trim())).toContain(words);
    expect(lines.map((line) => line.trim())).toContain(`autogit-node approve desktop-1 --words ${words}`);
    const [first, ...others] = lines;
    expect(first).toBe('  wait  approval    compare the words');
    for (const line of others) expect(line.trim()).toMatch(/^(cedar-|autogit-node |[a-z :]+$)/);
  },
);
