import { AutogitError } from '../../protocol/errors.ts';
import { checkHostname } from './gitlab-hostname.ts';
import { isPort, parseDuration, parseSize } from './quantities.ts';
import type { Flag } from './settings-flag.ts';

export type Value = boolean | string | number | string[] | null;
type Kind = Pick<Flag, 'kind' | 'choices' | 'separator'>;

const words: Record<string, boolean> = {
  on: true,
  true: true,
  yes: true,
  1: true,
  off: false,
  false: false,
  no: false,
  0: false,
};

/** Of what somebody typed: `constructor` is no word of ours. */
function wordIn(text: string): boolean | undefined {
  const word = text.trim().toLowerCase();
  return Object.hasOwn(words, word) ? words[word] : undefined;
}

const wrong = (text: string, sentence: string): AutogitError => new AutogitError('bad-flag', `"${text}" ${sentence}`);

/** One text of any source as the flag's value. Throws `bad-flag` with a sentence that does not name the source. */
export function parseOne(flag: Kind, text: string): Value {
  switch (flag.kind) {
    case 'switch': {
      const word = wordIn(text);
      if (word === undefined) throw wrong(text, 'is neither on nor off');
      return word;
    }
    case 'optional':
      return text === '' ? true : (wordIn(text) ?? text);
    case 'duration':
      return parseDuration(text);
    case 'size':
      return parseSize(text);
    case 'count':
      if (!/^\d{1,9}$/.test(text.trim())) throw wrong(text, 'is no whole number; write 4');
      return Number(text);
    case 'percent': {
      const figure = /^(\d{1,3})\s*%?$/.exec(text.trim())?.[1];
      if (figure === undefined) throw wrong(text, 'is no percentage; write 15 or 15%');
      return Number(figure);
    }
    case 'port':
      if (!isPort(text.trim())) throw wrong(text, 'is no port; write a number from 0 to 65535');
      return Number(text);
    case 'choice':
      checkChoice(flag, text);
      return text;
    case 'hostname':
      checkHostname(text);
      return text;
    case 'folder':
      // It may be of another machine, which is not where this one stands.
      if (!/^\/(?!.*(?:^|\/)\.\.?(?:\/|$))[^\p{C}]*$/u.test(text))
        throw wrong(text, "is no absolute path without '.' and '..'; write /srv/gitlab");
      return text;
    case 'list':
    case 'text':
      return text;
  }
}

const bareMost = 1 << 20;

/** Of what a person types now: `--reserve-memory 8` is no wish for eight bytes. Throws `bad-flag`. */
export function checkTyped({ kind }: Kind, text: string): void {
  const bytes = /^[1-9]\d*$/.test(text.trim()) ? Number(text) : 0;
  if (kind === 'size' && bytes > 0 && bytes < bareMost)
    throw wrong(text, `would be ${bytes} bytes; write the unit: ${text.trim()}g or ${text.trim()}m`);
}

function checkChoice({ choices }: Kind, text: string): void {
  if (choices && !choices.includes(text)) throw wrong(text, `is none of ${choices.join(', ')}`);
}

export function parseText(flag: Kind, text: string | string[]): Value {
  if (flag.kind !== 'list') {
    if (Array.isArray(text)) throw new AutogitError('bad-flag', 'it takes one value, not a list');
    return parseOne(flag, text);
  }
  const parts = [text].flat().flatMap((part) => part.split(flag.separator ?? ','));
  const list = parts.map((part) => part.trim()).filter((part) => part !== '' || flag.separator !== undefined);
  for (const part of list) checkChoice(flag, part);
  return list;
}
