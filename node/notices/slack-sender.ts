import { request, type Sender } from './notice-sender.ts';

/** Slack's three control characters, and words that call everybody in Mattermost; what is left of other markup does no harm. */
const escaped = (text: string): string =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/@(?=(?:all|channel|everyone|here)\b)/gi, '@\u200b');

const marks: Readonly<Record<string, string>> = {
  broken: ':rotating_light:',
  still: ':hourglass:',
  fixed: ':white_check_mark:',
  several: ':rotating_light:',
  test: ':wave:',
};

/** An incoming webhook of Slack's, or of what takes the same (Mattermost, Rocket.Chat). */
export const sendSlack: Sender = async (notice, way, { signal }) => {
  if (notice === null) return;
  const { title, text, fix, state } = notice;
  const lines = [
    `${(Object.hasOwn(marks, state) ? marks[state] : undefined) ?? ':warning:'} *${escaped(title)}*`,
    escaped(text),
    ...(fix === null ? [] : [`\`${escaped(fix)}\``]),
  ];
  await request(way, {
    body: JSON.stringify({ text: lines.join('\n') }),
    headers: { 'content-type': 'application/json' },
    signal,
  });
};
