#include "core/engine/config_nodes.h"

#include <algorithm>
#include <utility>

#include "core/config/nearest.h"

namespace extprocd::engine {

ConfigNode::ConfigNode(const config::Value& value, std::string key) : value_(&value), key_(std::move(key)) {
  if (const auto* table = std::get_if<config::Value::Table>(&value.data)) {
    for (const auto& [name, child] : *table) children_.push_back(std::make_unique<ConfigNode>(child, name));
  } else if (const auto* array = std::get_if<config::Value::Array>(&value.data)) {
    for (const auto& child : *array) children_.push_back(std::make_unique<ConfigNode>(child));
  }
}

const ConfigNode* ConfigNode::find(std::string_view key) const {
  if (!std::holds_alternative<config::Value::Table>(value_->data)) return nullptr;
  asked_.emplace_back(key);
  const auto found = std::find_if(children_.begin(), children_.end(),
                                  [key](const auto& child) { return child->key_ == key; });
  if (found == children_.end()) return nullptr;
  (*found)->read_ = true;
  return found->get();
}

const ConfigNode* ConfigNode::at(std::size_t index) const {
  if (index >= children_.size()) return nullptr;
  children_[index]->read_ = true;
  return children_[index].get();
}

void ConfigNode::mark_all_read() const {
  for (const auto& child : children_) {
    child->read_ = true;
    child->mark_all_read();
  }
}

void ConfigNode::report_unread(const std::string& file, const std::string& plugin,
                               std::vector<config::Diagnostic>& errors) const {
  const bool is_table = std::holds_alternative<config::Value::Table>(value_->data);
  for (const auto& child : children_) {
    if (child->read_) {
      child->report_unread(file, plugin, errors);
    } else if (is_table) {
      std::string text = "plugin '" + plugin + "' has no option '" + child->key_ + "'";
      const std::string_view near = config::nearest(child->key_, asked_);
      if (!near.empty()) text += "; did you mean '" + std::string(near) + "'?";
      errors.push_back({file, child->value_->position, std::move(text)});
    }
  }
}

}  // namespace extprocd::engine
