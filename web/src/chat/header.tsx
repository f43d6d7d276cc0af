import { compact } from "../lib/format";
import { locale, t } from "../strings";
import { Icon } from "../ui/icon";
import { Menu } from "../ui/menu";
import { model, pickModel } from "./actions";
import { go, open } from "./library";
import { models, modelTitle } from "./models";
import { dialog, drawer, narrow, sidebar } from "./view";

export function Header() {
  const toggle = () => {
    if (narrow.value) drawer.value = !drawer.value;
    else sidebar.value = !sidebar.value;
  };
  const hidden = narrow.value ? !drawer.value : !sidebar.value;
  return (
    <header class="header">
      {hidden && (
        <button type="button" class="icon-button" onClick={toggle} aria-label={t().openSidebar} title={t().openSidebar}>
          <Icon name={narrow.value ? "menu" : "panel"} size={20} />
        </button>
      )}
      <ModelPicker />
      {open.value ? <h1 class="header-title">{open.value.title || t().untitled}</h1> : <span class="spacer" />}
      {hidden && (
        <button type="button" class="icon-button" onClick={() => go(null)} aria-label={t().newChat} title={t().newChat}>
          <Icon name="new" size={20} />
        </button>
      )}
      <button
        type="button"
        class="icon-button"
        onClick={() => (dialog.value = { name: "settings" })}
        aria-label={t().settings}
        title={t().settings}
      >
        <Icon name="settings" size={20} />
      </button>
    </header>
  );
}

function ModelPicker() {
  const current = model.value;
  if (!current) return <span class="model-name" />;
  if (models.value.length === 1) return <span class="model-name">{modelTitle(current)}</span>;
  const items = models.value.map((entry) => {
    const title = modelTitle(entry);
    const about = [
      title === entry.name ? null : entry.name,
      entry.tier === "pro" ? t().expertNote : entry.tier === "flash" ? t().quickNote : null,
      t().contextOf(compact(entry.context, locale.value)),
    ];
    return {
      label: title,
      note: about.filter((part) => part !== null).join(" · "),
      chosen: entry.id === current.id,
      act: () => pickModel(entry.id),
    };
  });
  const button = (
    <>
      <span class="model-name">{modelTitle(current)}</span>
      <Icon name="open" size={16} />
    </>
  );
  return <Menu label={`${t().model}: ${modelTitle(current)}`} button={button} buttonClass="model-button" items={items} />;
}
