// Offers a text as a file.

export function download(json: string, name: string): void {
  const day = new Date().toISOString().slice(0, 10);
  const safe = name.replace(/[^\p{L}\p{N} _-]+/gu, "").trim().slice(0, 60) || "fathom";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([json], { type: "application/json" }));
  link.download = `${safe} ${day}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
