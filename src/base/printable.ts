/** Names come from files and other clusters: without this one of them could move the cursor of whoever lists it. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?');
}
