import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { AutogitError } from '../../protocol/errors.ts';
import { KnownAct, type NoticeAct } from '../../protocol/notices.ts';
import type { AddedPath } from '../page/page-types.ts';

/** How long a button works, ms. */
const goodMs = 12 * 3_600_000;
/** Links of which it is remembered that they were used: more than are ever made while one is good. */
const usedMost = 2_000;
const linkPath = '/n/';

const Said = z.strictObject({ act: KnownAct, until: z.number(), once: z.string().max(32) });

interface ActLinkOptions {
  /** By which others reach this machine's page; null: nobody does from outside. */
  base(): string | null;
  /** Does it; a sentence. Throws with the fix. */
  perform(act: KnownAct): Promise<string>;
  /** What this machine can do for a link at all. */
  can(act: KnownAct): boolean;
  wallMs(): number;
  log: { info(sentence: string): void };
}

export interface ActLink {
  label: string;
  url: string;
}

export const actLabels = { approve: 'Let it in', 'resume-gpu': 'Give the GPU back' } as const;

/**
 * Links that are a button in a notice: each does one thing, once, within twelve hours, and is signed by a key that this agent alone has
 * and forgets when it ends. They are posted to: what only looks at a link, as previews do, sets nothing off.
 */
export class ActLinks {
  readonly #options: ActLinkOptions;
  readonly #key = randomBytes(32);
  readonly #used = new Set<string>();

  constructor(options: ActLinkOptions) {
    this.#options = options;
  }

  /** Null also of an act that only a later version knows. */
  linkOf(asked: NoticeAct): ActLink | null {
    const base = this.#options.base();
    const act = KnownAct.safeParse(asked).data;
    if (base === null || act === undefined || !this.#options.can(act)) return null;
    const said = { act, until: this.#options.wallMs() + goodMs, once: randomBytes(9).toString('base64url') };
    const text = Buffer.from(JSON.stringify(said)).toString('base64url');
    return { label: actLabels[act.act], url: `${base}${linkPath}${text}.${this.#signed(text)}` };
  }

  #signed = (text: string): string => createHmac('sha256', this.#key).update(text).digest('base64url');

  /** What a link says, and that it is used now. Throws in words. */
  #opened(token: string): z.infer<typeof Said> {
    const [, text = '', mark = ''] = /^([\w-]{1,1024})\.([\w-]{43})$/.exec(token) ?? [];
    const [wanted, given] = [Buffer.from(this.#signed(text)), Buffer.from(mark)];
    const hint = 'do it in the page or by the command that the notice names';
    const refuse = (sentence: string): AutogitError => new AutogitError('not-approved', sentence, { hint });
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted))
      throw refuse('this link is none of this agent, or of before it was started');
    const said = Said.parse(JSON.parse(Buffer.from(text, 'base64url').toString()));
    const { until, once } = said;
    if (this.#options.wallMs() > until) throw refuse('this link is too old');
    if (this.#used.has(once)) throw refuse('this link was used already');
    this.#used.add(once);
    for (const first of this.#used) {
      if (this.#used.size <= usedMost) break;
      this.#used.delete(first);
    }
    return said;
  }

  /** Served at the page's door. */
  path(): AddedPath {
    return {
      ...{ path: linkPath, methods: ['POST'], role: 'anybody' },
      answer: async ({ path }) => {
        const { act, once } = this.#opened(path.slice(linkPath.length));
        const said = await this.#options.perform(act).catch((error) => {
          // Nothing was done: without a leader, say. The button is good for another try.
          this.#used.delete(once);
          throw error;
        });
        this.#options.log.info(`by a button of a notice: ${said}`);
        return { status: 200, type: 'application/json', body: JSON.stringify({ said }) };
      },
    };
  }
}
