/** So much of a trace is shown; the whole is at GitLab. */
const traceChars = 200_000;

/** What a colour of a terminal is called on the page. */
const colours = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'] as const;

export interface TracePart {
  text: string;
  colour: (typeof colours)[number] | null;
  isBold: boolean;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: a trace is what a terminal gets.
const escapes = /\x1b\[([0-9;?]*)([A-Za-z])|\x1b[^[]?/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the same.
const sections = /section_(?:start|end):\d+:[^\r\n\x1b]*\r/g;

/** The end of a trace as parts of one look: GitLab's marks of sections, and all that moves a cursor, left out; a line that was written over as it ended. */
export function traceParts(trace: string): TracePart[] {
  const cut = trace.length > traceChars ? trace.slice(trace.indexOf('\n', trace.length - traceChars) + 1) : trace;
  const parts: TracePart[] = [];
  let look: Omit<TracePart, 'text'> = { colour: null, isBold: false };
  const add = (text: string): void => {
    if (text !== '') parts.push({ text, ...look });
  };
  let from = 0;
  const text = cut
    .replace(sections, '')
    .replace(/\r\n/g, '\n')
    .replace(/[^\n\r]*\r(?=[^\n\r])/g, keepMarks);
  for (const match of text.matchAll(escapes)) {
    add(clean(text.slice(from, match.index)));
    from = match.index + match[0].length;
    if (match[2] === 'm') look = lookAfter(look, match[1] ?? '');
  }
  add(clean(text.slice(from)));
  return parts;
}

/** A line that is written over leaves nothing but the colours that it set. */
const keepMarks = (line: string): string => [...line.matchAll(escapes)].map(([mark]) => mark).join('');

/** Nothing that a browser would turn or hide: what is left of control characters goes. */
const clean = (text: string): string => text.replace(/[^\P{C}\n\t]/gu, '');

function lookAfter(look: Omit<TracePart, 'text'>, codes: string): Omit<TracePart, 'text'> {
  let next = look;
  for (const code of codes.split(';').map(Number)) {
    const colour = colours[code % 10] ?? null;
    if (code === 0) next = { colour: null, isBold: false };
    else if (code === 1) next = { ...next, isBold: true };
    else if (code === 22) next = { ...next, isBold: false };
    else if (code === 39) next = { ...next, colour: null };
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) next = { ...next, colour };
  }
  return next;
}
